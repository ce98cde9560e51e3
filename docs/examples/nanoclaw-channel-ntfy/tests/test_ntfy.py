"""Tests of the ntfy channel in a running host, with a fake server and a scripted agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from fake_ntfy import FakeNtfy
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_channel_ntfy import host as ntfy
from nanoclaw_channel_ntfy.adapter import split_text, text_of

from nanoclaw_core import Card, CardOption, Host, Outbound
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

TOPIC = "kitchen"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """Return an instance with an agent that is wired to the topic."""
    instance = make_instance(tmp_path)
    instance.wire(channel="ntfy", room=TOPIC)
    yield instance
    instance.db.close()


@asynccontextmanager
async def running(instance: Instance, server: FakeNtfy, script: Any = echo, **settings: Any) -> AsyncIterator[None]:
    """Run a host with the channel and a scripted agent, and publish a first message."""
    table = {"topic": TOPIC, "server": server.url, "poll_s": 0.02, **settings}
    plugins = {"ntfy": ntfy, "scripted": ScriptedRuntime(script)}
    host_settings = evolve(instance.settings, plugins={"ntfy": table})
    async with Host(host_settings, plugins=plugins, environment={}, use_installed_plugins=False):
        await asyncio.to_thread(server.say, TOPIC, "hello")
        yield


def answers(instance: Instance, server: FakeNtfy, count: int, script: Any = echo, **settings: Any) -> list[str]:
    """Publish `hello`, and return the answers of the agent."""

    async def scenario() -> list[str]:
        async with running(instance, server, script, **settings):
            return [message["message"] for message in await asyncio.to_thread(server.answers, count)]

    return asyncio.run(scenario())


def saying(content: dict[str, Any], files: dict[str, bytes] | None = None) -> Any:
    """Return a script that answers once, with this content and these files."""

    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        last = messages[-1]
        folder = runner.files.outbox / f"{runner.spec.name}-1"
        for name, data in (files or {}).items():
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        runner.write(content, done=messages, channel=last.channel, room=last.room, in_reply_to=last.id)
        await runner.take()
        return 0

    return script


def failures(instance: Instance) -> list[str]:
    """Return the last error of each failed message."""
    rows = instance.db.execute("SELECT last_error FROM deliveries WHERE status = 'failed'")
    return [reason for (reason,) in rows]


async def until_failed(instance: Instance) -> list[str]:
    """Wait until a message has failed, and return the errors."""
    async with asyncio.timeout(30):
        while not (errors := failures(instance)):  # noqa: ASYNC110  # the table has no notification
            await asyncio.sleep(0.01)
    return errors


def test_fake_person_writes_only_after_the_first_poll() -> None:
    """A message in the second before the poll would be missed."""
    with FakeNtfy() as server:
        with pytest.raises(TimeoutError, match="did not poll the topic 'kitchen'"):
            server.say(TOPIC, "too early", timeout_s=0)
        server.read(TOPIC, "all")
        assert server.say(TOPIC, "hello", timeout_s=0) in server.read(TOPIC, "all")


def test_fake_reads_twelve_digits_as_an_id() -> None:
    """A random id may have only digits. It is no time, and for an unknown id, ntfy returns all messages."""
    with FakeNtfy() as server:
        server.read(TOPIC, "all")
        message_id = server.say(TOPIC, "hello")
        assert message_id in server.read(TOPIC, "999999999999")


def test_published_message_is_answered_on_the_topic(instance: Instance) -> None:
    with FakeNtfy() as server:
        assert answers(instance, server, 1) == ["echo: hello"]


def test_own_messages_are_ignored(instance: Instance) -> None:
    async def scenario(server: FakeNtfy) -> list[str]:
        async with running(instance, server):
            await asyncio.to_thread(server.answers, 1)
            await asyncio.to_thread(server.say, TOPIC, "again")
            return [message["message"] for message in await asyncio.to_thread(server.answers, 2)]

    with FakeNtfy() as server:
        assert asyncio.run(scenario(server)) == ["echo: hello", "echo: again"]


def test_message_of_a_stopped_host_is_answered_by_the_next(instance: Instance) -> None:
    with FakeNtfy() as server:
        answers(instance, server, 1)
        server.say(TOPIC, "are you there?")
        said = answers(instance, server, 2)
        assert "are you there?" in " ".join(said[1:])


def test_long_answer_arrives_in_ordered_pieces(instance: Instance) -> None:
    text = " ".join(str(number) for number in range(2_000))
    with FakeNtfy() as server:
        assert "".join(answers(instance, server, 3, saying({"text": text}))) == text


def test_files_follow_the_text_with_their_names(instance: Instance) -> None:
    content = {"text": "here", "files": ["menu für heute.txt"]}
    with FakeNtfy(file_bytes=1_000) as server:
        said = answers(instance, server, 2, saying(content, {"menu für heute.txt": b"soup"}))
        assert said == ["here", "You received a file: menu für heute.txt"]


def test_token_is_sent_to_a_protected_topic(instance: Instance) -> None:
    with FakeNtfy(token="tk_secret") as server:
        assert answers(instance, server, 1, token="tk_secret") == ["echo: hello"]


def test_busy_server_is_tried_again(instance: Instance) -> None:
    with FakeNtfy() as server:
        server.busy_for = 2
        assert answers(instance, server, 1) == ["echo: hello"]
        assert server.attempts == 3


@pytest.mark.parametrize(
    ("options", "content", "files", "reason"),
    [
        ({"is_writable": False}, {"text": "hello"}, {}, "403 Forbidden"),
        ({}, {"files": ["menu.txt"]}, {"menu.txt": b"soup"}, "400 Bad Request"),
        ({"file_bytes": 3}, {"files": ["menu.txt"]}, {"menu.txt": b"soup"}, "413 Request Entity Too Large"),
    ],
)
def test_message_that_ntfy_refuses_is_not_retried(
    instance: Instance, options: dict[str, Any], content: dict[str, Any], files: dict[str, bytes], reason: str
) -> None:
    async def scenario(server: FakeNtfy) -> list[str]:
        async with running(instance, server, saying(content, files)):
            return await until_failed(instance)

    with FakeNtfy(**options) as server:
        assert asyncio.run(scenario(server)) == [f"ntfy refused the message: {reason}"]
        assert server.attempts == 1


def test_edit_is_refused_without_a_request(instance: Instance) -> None:
    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        runner.answer(messages, "first")
        address = {"channel": messages[-1].channel, "room": messages[-1].room}
        seq = runner.written.execute("SELECT max(seq) FROM messages_out").get
        runner.write({"operation": "edit", "seq": seq, "text": "second"}, **address)
        await runner.take()
        return 0

    async def scenario(server: FakeNtfy) -> list[str]:
        async with running(instance, server, script):
            return await until_failed(instance)

    with FakeNtfy() as server:
        assert asyncio.run(scenario(server)) == ["ntfy cannot edit messages or react to them"]
        assert server.attempts == 1


def test_card_becomes_a_text_with_its_options() -> None:
    options = [CardOption(label="Soup", value="soup"), CardOption(label="Salad", value="salad")]
    card = Card(id="q1", title="Lunch", text="What shall it be?", options=options)
    assert text_of(Outbound(idempotency_key="k", card=card)) == "Lunch\nWhat shall it be?\n· Soup\n· Salad"


@given(st.text(max_size=200), st.integers(min_value=4, max_value=40))
def test_split_text_keeps_the_text_and_the_limit(text: str, limit_bytes: int) -> None:
    pieces = list(split_text(text, limit_bytes))
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= limit_bytes for piece in pieces)
