"""The ntfy channel in a running host, against a local server, with an agent that the test plays."""

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
from nanoclaw_channel_ntfy.adapter import pieces, words_of

from nanoclaw_core import Card, CardOption, Host, Outbound
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

TOPIC = "kitchen"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance whose agent is wired to the topic."""
    made = make_instance(tmp_path)
    made.wire(channel="ntfy", room=TOPIC)
    yield made
    made.db.close()


@asynccontextmanager
async def running(instance: Instance, server: FakeNtfy, script: Any = echo, **settings: Any) -> AsyncIterator[None]:
    """Run a host with the channel and an agent that follows a script."""
    table = {"topic": TOPIC, "server": server.url, "poll_s": 0.02, **settings}
    plugins = {"ntfy": ntfy, "scripted": ScriptedRuntime(script)}
    chosen = evolve(instance.settings, plugins={"ntfy": table})
    async with Host(chosen, plugins=plugins, environment={}, use_installed_plugins=False):
        await asyncio.to_thread(server.say, TOPIC, "hello")
        yield


def answers(instance: Instance, server: FakeNtfy, count: int, script: Any = echo, **settings: Any) -> list[str]:
    """Say hello, and return what the agent published."""

    async def scenario() -> list[str]:
        async with running(instance, server, script, **settings):
            return [message["message"] for message in await asyncio.to_thread(server.answers, count)]

    return asyncio.run(scenario())


def saying(content: dict[str, Any], files: dict[str, bytes] | None = None) -> Any:
    """Make a script that answers once, with a content of its own and files beside it."""

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
    """Return why messages were given up."""
    rows = instance.db.execute("SELECT last_error FROM deliveries WHERE status = 'failed'")
    return [reason for (reason,) in rows]


async def until_failed(instance: Instance) -> list[str]:
    """Wait until a message was given up; return why."""
    async with asyncio.timeout(30):
        while not (found := failures(instance)):  # noqa: ASYNC110  # the table announces nothing to a test
            await asyncio.sleep(0.01)
    return found


def test_what_is_published_is_answered_on_the_topic(instance: Instance) -> None:
    with FakeNtfy() as server:
        assert answers(instance, server, 1) == ["echo: hello"]


def test_the_channels_own_messages_are_not_read_back(instance: Instance) -> None:
    async def scenario(server: FakeNtfy) -> list[str]:
        async with running(instance, server):
            await asyncio.to_thread(server.answers, 1)
            await asyncio.to_thread(server.say, TOPIC, "again")
            return [message["message"] for message in await asyncio.to_thread(server.answers, 2)]

    with FakeNtfy() as server:
        assert asyncio.run(scenario(server)) == ["echo: hello", "echo: again"]


def test_what_was_published_while_no_host_ran_is_answered_by_the_next(instance: Instance) -> None:
    with FakeNtfy() as server:
        answers(instance, server, 1)
        server.say(TOPIC, "is anybody there?")
        said = answers(instance, server, 2)
        assert "is anybody there?" in " ".join(said[1:])


def test_a_long_answer_comes_in_pieces_in_their_order(instance: Instance) -> None:
    text = " ".join(str(number) for number in range(2_000))
    with FakeNtfy() as server:
        assert "".join(answers(instance, server, 3, saying({"text": text}))) == text


def test_files_come_behind_the_text_with_their_names(instance: Instance) -> None:
    content = {"text": "here", "files": ["menu für heute.txt"]}
    with FakeNtfy(file_bytes=1_000) as server:
        said = answers(instance, server, 2, saying(content, {"menu für heute.txt": b"soup"}))
        assert said == ["here", "You received a file: menu für heute.txt"]


def test_a_topic_that_needs_a_token_is_given_it(instance: Instance) -> None:
    with FakeNtfy(token="tk_secret") as server:
        assert answers(instance, server, 1, token="tk_secret") == ["echo: hello"]


def test_a_server_that_is_busy_is_asked_again(instance: Instance) -> None:
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
def test_what_ntfy_refuses_is_not_tried_again(
    instance: Instance, options: dict[str, Any], content: dict[str, Any], files: dict[str, bytes], reason: str
) -> None:
    async def scenario(server: FakeNtfy) -> list[str]:
        async with running(instance, server, saying(content, files)):
            return await until_failed(instance)

    with FakeNtfy(**options) as server:
        assert asyncio.run(scenario(server)) == [f"ntfy refused it: {reason}"]
        assert server.attempts == 1


def test_an_edit_is_refused_without_asking_the_server(instance: Instance) -> None:
    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        runner.answer(messages, "first")
        where = {"channel": messages[-1].channel, "room": messages[-1].room}
        seq = runner.written.execute("SELECT max(seq) FROM messages_out").get
        runner.write({"operation": "edit", "seq": seq, "text": "second"}, **where)
        await runner.take()
        return 0

    async def scenario(server: FakeNtfy) -> list[str]:
        async with running(instance, server, script):
            return await until_failed(instance)

    with FakeNtfy() as server:
        assert asyncio.run(scenario(server)) == ["ntfy can neither change a message nor react to one"]
        assert server.attempts == 1


def test_a_card_becomes_a_text_with_its_choices() -> None:
    options = [CardOption(label="Soup", value="soup"), CardOption(label="Salad", value="salad")]
    card = Card(id="q1", title="Lunch", text="What shall it be?", options=options)
    assert words_of(Outbound(idempotency_key="k", card=card)) == "Lunch\nWhat shall it be?\n· Soup\n· Salad"


@given(st.text(max_size=200), st.integers(min_value=4, max_value=40))
def test_pieces_are_the_text_and_none_is_too_long(text: str, limit_bytes: int) -> None:
    found = list(pieces(text, limit_bytes))
    assert "".join(found) == text
    assert all(0 < len(piece.encode()) <= limit_bytes for piece in found)
