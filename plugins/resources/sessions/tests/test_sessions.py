"""Tests of `ncl sessions` on a running host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nanoclaw_resource_registry.host as registry
import nanoclaw_resource_sessions.host as sessions
import pytest
from attrs import evolve, frozen
from nanoclaw_resource_sessions.conversation import MAX_READ_CHARACTERS
from nanoclaw_wire.outbound import OutKind
from registry_host import Client, client

from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, Script, ScriptedRuntime, echo, unanswering


@frozen
class SessionHost:
    """A running host and the operator's connection."""

    running: Running
    operator: Client

    @property
    def session(self) -> str:
        return self.running.instance.sessions()[0].id


@asynccontextmanager
async def session_host(instance: Instance, script: Script = echo) -> AsyncIterator[SessionHost]:
    instance.wire()
    async with (
        running_host(instance, runtime=ScriptedRuntime(script), sessions=sessions, registry=registry) as running,
        client(instance) as operator,
    ):
        yield SessionHost(running, operator)


def test_message_after_close_starts_a_new_session(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            await host.running.channel.say("one")
            await host.running.channel.texts(1)
            old = host.session
            assert await host.operator.data("sessions", "close", old) == {"closed": old}
            assert host.running.host.components.supervisor.running == {}
            assert (await host.operator.data("sessions", "get", old))["status"] == "closed"
            await host.running.channel.say("two")
            assert await host.running.channel.texts(2) == ["echo: one", "echo: two"]
            assert host.session != old

    asyncio.run(scenario())


def test_session_with_a_waiting_message_is_not_closed(nanoclaw_instance: Instance) -> None:
    """The session stays active and its sandbox starts again."""

    async def scenario() -> None:
        async with session_host(nanoclaw_instance, unanswering) as host:
            await host.running.channel.say("one")
            await until(lambda: host.running.runtime.specs)
            code, message = await host.operator.refusal("sessions", "close", host.session)
            assert (code, "a message waits for an answer" in message) == ("forbidden", True)
            assert (await host.operator.data("sessions", "get", host.session))["status"] == "active"
            await until(lambda: len(host.running.runtime.specs) == 2)

    asyncio.run(scenario())


def test_close_of_closed_or_unknown_session_is_not_found(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            await host.running.channel.say("one")
            await host.running.channel.texts(1)
            old = host.session
            await host.operator.data("sessions", "close", old)
            assert (await host.operator.refusal("sessions", "close", old))[0] == "not-found"
            assert (await host.operator.refusal("sessions", "close", "ses-none"))[0] == "not-found"

    asyncio.run(scenario())


def test_messages_of_a_session_are_shown_in_order(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            for count, text in enumerate(("one", "two"), start=1):
                await host.running.channel.say(text, sender_name="Ada")
                await host.running.channel.texts(count)
            shown = await host.operator.data("sessions", "messages", host.session)
            assert [(message["direction"], message["who"], message["text"]) for message in shown] == [
                ("in", "Ada (recorder:ada)", "one"),
                ("out", "agent", "echo: one"),
                ("in", "Ada (recorder:ada)", "two"),
                ("out", "agent", "echo: two"),
            ]
            assert [message["number"] % 2 for message in shown] == [0, 1, 0, 1]
            latest = await host.operator.data("sessions", "messages", host.session, limit="1")
            assert [message["text"] for message in latest] == ["echo: two"]

    asyncio.run(scenario())


def test_messages_show_the_host_and_a_namesake_apart(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            await host.running.channel.say("one", sender="host", sender_name="nanoclaw")
            await host.running.channel.texts(1)
            await host.running.host.components.notifier.leave_note(host.session, "two")
            shown = await host.operator.data("sessions", "messages", host.session)
            incoming = [(message["who"], message["text"]) for message in shown if message["direction"] == "in"]
            assert incoming == [("nanoclaw (recorder:host)", "one"), ("nanoclaw", "two")]

    asyncio.run(scenario())


def test_invalid_messages_of_a_sandbox_are_shown_as_such(nanoclaw_instance: Instance) -> None:
    async def write_odd_messages(runner: FakeRunner) -> int:
        messages = await runner.take()
        address = {"channel": messages[0].channel, "room": messages[0].room}
        runner.write("no json", done=messages, **address)
        runner.write({"text": "", "files": ["a.txt"]}, **address)
        runner.write({"type": "card", "card": {"title": "T", "description": "D"}}, kind=OutKind.CARD, **address)
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        async with session_host(nanoclaw_instance, write_odd_messages) as host:
            await host.running.channel.say("go")
            await until(lambda: nanoclaw_instance.db.execute("SELECT count(*) FROM deliveries").get == 3)
            shown = await host.operator.data("sessions", "messages", host.session)
            texts = [message["text"] for message in shown if message["direction"] == "out"]
            assert texts == ["(the content is not valid JSON)", " [a.txt]", "T D"]

    asyncio.run(scenario())


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1.5"])
def test_invalid_limit_of_messages_is_refused(nanoclaw_instance: Instance, limit: str) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            await host.running.channel.say("one")
            assert (await host.operator.refusal("sessions", "messages", host.session, limit=limit))[0] == "invalid-args"

    asyncio.run(scenario())


def test_long_messages_are_not_read_at_once(nanoclaw_instance: Instance) -> None:
    """The host would do nothing else meanwhile."""

    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            for count, text in enumerate(("one", "two"), 1):
                await host.running.channel.say(text)
                await host.running.channel.texts(count)
            content = json.dumps({"text": "x" * (MAX_READ_CHARACTERS // 2)})
            nanoclaw_instance.db.execute("UPDATE deliveries SET content = ?", (content,))
            code, message = await host.operator.refusal("sessions", "messages", host.session)
            assert (code, "a smaller --limit" in message) == ("invalid-args", True)
            assert len(await host.operator.data("sessions", "messages", host.session, limit="1")) == 1

    asyncio.run(scenario())


def test_messages_of_an_unknown_session_are_not_found(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            for name in ("ses-none", "../../etc"):
                assert (await host.operator.refusal("sessions", "messages", name))[0] == "not-found"

    asyncio.run(scenario())


def test_session_with_a_waiting_message_is_closed_by_force(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance, unanswering) as host:
            await host.running.channel.say("one")
            await until(lambda: host.running.runtime.specs)
            old = host.session
            await host.operator.data("sessions", "close", old, force=True)
            await host.running.channel.say("two")
            await until(lambda: len(host.running.runtime.specs) == 2)
            assert host.session != old

    asyncio.run(scenario())


def test_delete_removes_files_and_keeps_deliveries(
    nanoclaw_instance: Instance,
) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            await host.running.channel.say("one")
            await host.running.channel.texts(1)
            old = host.session
            files = nanoclaw_instance.settings.home / "sessions" / old
            code, message = await host.operator.refusal("sessions", "delete", old)
            assert (code, f"Run `ncl sessions close {old}` first" in message) == ("forbidden", True)
            await host.operator.data("sessions", "close", old)
            assert files.is_dir()
            assert await host.operator.data("sessions", "delete", old) == {"deleted": old, "files": "removed"}
            assert not files.exists()
            assert (await host.operator.refusal("sessions", "get", old))[0] == "not-found"
            sent = nanoclaw_instance.db.execute("SELECT session_id, status FROM deliveries").fetchall()
            assert sent == [(None, "sent")]

    asyncio.run(scenario())


def test_session_with_a_queued_message_is_not_deleted(nanoclaw_instance: Instance) -> None:
    core = evolve(nanoclaw_instance.settings.core, delivery_pauses_s=[3_600.0])
    nanoclaw_instance.settings = evolve(nanoclaw_instance.settings, core=core)

    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            host.running.channel.troubles.append(OSError("the platform is down"))
            await host.running.channel.say("one")
            is_queued = "SELECT 1 FROM deliveries WHERE status = 'queued' AND attempts = 1"
            await until(lambda: nanoclaw_instance.db.execute(is_queued).get)
            old = host.session
            await host.operator.data("sessions", "close", old, force=True)
            code, message = await host.operator.refusal("sessions", "delete", old)
            assert (code, "still has messages to send" in message) == ("forbidden", True)
            assert (await host.operator.data("sessions", "get", old))["status"] == "closed"

    asyncio.run(scenario())


def test_message_is_answered_before_its_row_is_updated(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with session_host(nanoclaw_instance) as host:
            await host.running.channel.say("one")
            await host.running.channel.texts(1)
            first, second = await host.operator.data("sessions", "messages", host.session)
            assert (first["status"], second["direction"]) in [("answered", "out"), ("completed", "out")]

    asyncio.run(scenario())


def test_waiting_message_is_pending_despite_a_later_answer(
    nanoclaw_instance: Instance,
) -> None:
    """The answer belongs to an earlier message."""

    async def answer_first_only(runner: FakeRunner) -> int:
        messages = await runner.take(limit=1)
        await until(lambda: len(runner.pending()) > 1)
        runner.answer(messages, "to the first")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        async with session_host(nanoclaw_instance, answer_first_only) as host:
            await host.running.channel.say("first")
            await host.running.channel.say("second")
            await host.running.channel.texts(1)
            shown = await host.operator.data("sessions", "messages", host.session)
            status = {message["text"]: message["status"] for message in shown}
            assert (status["first"] in ("answered", "completed"), status["second"]) == (True, "pending")

    asyncio.run(scenario())
