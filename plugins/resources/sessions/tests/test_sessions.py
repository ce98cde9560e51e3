"""`ncl sessions`, asked of a running host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nanoclaw_resource_registry.host as registry
import nanoclaw_resource_sessions.host as sessions
import pytest
from attrs import evolve, frozen
from nanoclaw_wire.outbound import OutKind
from registry_host import Client, client

from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, Script, ScriptedRuntime, echo


@frozen
class House:
    """A running host and the operator's connection."""

    running: Running
    operator: Client

    @property
    def session(self) -> str:
        return self.running.instance.sessions()[0].id


@asynccontextmanager
async def house(instance: Instance, script: Script = echo) -> AsyncIterator[House]:
    instance.wire()
    async with (
        running_host(instance, runtime=ScriptedRuntime(script), sessions=sessions, registry=registry) as running,
        client(instance) as operator,
    ):
        yield House(running, operator)


async def silent(runner: FakeRunner) -> int:
    """Take a message and never answer it."""
    await runner.take()
    await asyncio.Event().wait()
    return 0


def test_a_closed_session_is_followed_by_a_new_one(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            await here.running.channel.say("one")
            await here.running.channel.texts(1)
            old = here.session
            assert await here.operator.data("sessions", "close", old) == {"closed": old}
            assert here.running.host.machine.supervisor.running == {}
            assert (await here.operator.data("sessions", "get", old))["status"] == "closed"
            await here.running.channel.say("two")
            assert await here.running.channel.texts(2) == ["echo: one", "echo: two"]
            assert here.session != old

    asyncio.run(scenario())


def test_a_session_with_a_message_that_waits_is_not_closed_and_goes_on(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance, silent) as here:
            await here.running.channel.say("one")
            await until(lambda: here.running.runtime.specs)
            code, why = await here.operator.refusal("sessions", "close", here.session)
            assert (code, "a message waits for an answer" in why) == ("forbidden", True)
            assert (await here.operator.data("sessions", "get", here.session))["status"] == "active"
            await until(lambda: len(here.running.runtime.specs) == 2)

    asyncio.run(scenario())


def test_a_session_that_is_closed_or_not_there_cannot_be_closed(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            await here.running.channel.say("one")
            await here.running.channel.texts(1)
            old = here.session
            await here.operator.data("sessions", "close", old)
            assert (await here.operator.refusal("sessions", "close", old))[0] == "not-found"
            assert (await here.operator.refusal("sessions", "close", "ses-none"))[0] == "not-found"

    asyncio.run(scenario())


def test_the_messages_of_a_conversation_are_shown_in_order(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            for count, text in enumerate(("one", "two"), start=1):
                await here.running.channel.say(text, sender_name="Ada")
                await here.running.channel.texts(count)
            shown = await here.operator.data("sessions", "messages", here.session)
            assert [(one["direction"], one["who"], one["text"]) for one in shown] == [
                ("in", "Ada", "one"),
                ("out", "agent", "echo: one"),
                ("in", "Ada", "two"),
                ("out", "agent", "echo: two"),
            ]
            assert [one["number"] % 2 for one in shown] == [0, 1, 0, 1]
            latest = await here.operator.data("sessions", "messages", here.session, limit="1")
            assert [one["text"] for one in latest] == ["echo: two"]

    asyncio.run(scenario())


def test_whatever_a_sandbox_wrote_is_shown_as_what_it_is(nanoclaw_instance: Instance) -> None:
    async def odd(runner: FakeRunner) -> int:
        messages = await runner.take()
        where = {"channel": messages[0].channel, "room": messages[0].room}
        runner.write("no json", done=messages, **where)
        runner.write({"text": "", "files": ["a.txt"]}, **where)
        runner.write({"type": "card", "card": {"title": "T", "description": "D"}}, kind=OutKind.CARD, **where)
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        async with house(nanoclaw_instance, odd) as here:
            await here.running.channel.say("go")
            await until(lambda: nanoclaw_instance.db.execute("SELECT count(*) FROM deliveries").get == 3)
            shown = await here.operator.data("sessions", "messages", here.session)
            texts = [one["text"] for one in shown if one["direction"] == "out"]
            assert texts == ["(the content is no JSON)", " [a.txt]", "T D"]

    asyncio.run(scenario())


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1.5"])
def test_a_limit_that_makes_no_sense_is_refused(nanoclaw_instance: Instance, limit: str) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            await here.running.channel.say("one")
            assert (await here.operator.refusal("sessions", "messages", here.session, limit=limit))[0] == "invalid-args"

    asyncio.run(scenario())


def test_the_messages_of_a_session_that_is_not_there_are_not_found(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            for name in ("ses-none", "../../etc"):
                assert (await here.operator.refusal("sessions", "messages", name))[0] == "not-found"

    asyncio.run(scenario())


def test_a_session_that_never_gets_its_answer_is_closed_by_force(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance, silent) as here:
            await here.running.channel.say("one")
            await until(lambda: here.running.runtime.specs)
            old = here.session
            await here.operator.data("sessions", "close", old, force=True)
            await here.running.channel.say("two")
            await until(lambda: len(here.running.runtime.specs) == 2)
            assert here.session != old

    asyncio.run(scenario())


def test_a_closed_session_is_removed_with_its_files_and_what_it_sent_is_still_known(
    nanoclaw_instance: Instance,
) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            await here.running.channel.say("one")
            await here.running.channel.texts(1)
            old = here.session
            files = nanoclaw_instance.settings.home / "sessions" / old
            code, why = await here.operator.refusal("sessions", "delete", old)
            assert (code, f"`ncl sessions close {old}` comes first" in why) == ("forbidden", True)
            await here.operator.data("sessions", "close", old)
            assert files.is_dir()
            assert await here.operator.data("sessions", "delete", old) == {"deleted": old}
            assert not files.exists()
            assert (await here.operator.refusal("sessions", "get", old))[0] == "not-found"
            sent = nanoclaw_instance.db.execute("SELECT session_id, status FROM deliveries").fetchall()
            assert sent == [(None, "sent")]

    asyncio.run(scenario())


def test_a_conversation_with_a_message_on_its_way_out_is_not_removed(nanoclaw_instance: Instance) -> None:
    core = evolve(nanoclaw_instance.settings.core, delivery_pauses_s=[3_600.0])
    nanoclaw_instance.settings = evolve(nanoclaw_instance.settings, core=core)

    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            here.running.channel.troubles.append(OSError("the platform is away"))
            await here.running.channel.say("one")
            waits = "SELECT 1 FROM deliveries WHERE status = 'queued' AND attempts = 1"
            await until(lambda: nanoclaw_instance.db.execute(waits).get)
            old = here.session
            await here.operator.data("sessions", "close", old, force=True)
            code, why = await here.operator.refusal("sessions", "delete", old)
            assert (code, "messages that wait to be sent" in why) == ("forbidden", True)
            assert (await here.operator.data("sessions", "get", old))["status"] == "closed"

    asyncio.run(scenario())


def test_what_was_answered_is_called_so_before_its_row_is_settled(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with house(nanoclaw_instance) as here:
            await here.running.channel.say("one")
            await here.running.channel.texts(1)
            first, second = await here.operator.data("sessions", "messages", here.session)
            assert (first["status"], second["direction"]) in [("answered", "out"), ("completed", "out")]

    asyncio.run(scenario())


def test_what_still_waits_is_not_called_answered_because_something_was_said_after_it(
    nanoclaw_instance: Instance,
) -> None:
    async def first_alone(runner: FakeRunner) -> int:
        messages = await runner.take(limit=1)
        await until(lambda: len(runner.pending()) > 1)
        runner.answer(messages, "to the first")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        async with house(nanoclaw_instance, first_alone) as here:
            await here.running.channel.say("first")
            await here.running.channel.say("second")
            await here.running.channel.texts(1)
            shown = await here.operator.data("sessions", "messages", here.session)
            status = {one["text"]: one["status"] for one in shown}
            assert (status["first"] in ("answered", "completed"), status["second"]) == (True, "pending")

    asyncio.run(scenario())
