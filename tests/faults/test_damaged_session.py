"""A session with corrupt, truncated or missing files is quarantined alone.

Its conversation continues.

I4: no accepted message is lost. I12: people are told in plain words. Defect 25: one session's damage stops no other.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import inbound
from runner_scripts import answering
from session_damage import DAMAGES, IN, OUT, TOLD, file_of, fill_with_garbage, have_conversation, session_of

from nanoclaw_core import Attachment
from nanoclaw_core.sandboxes.quarantine import MAX_TRIES
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance, quarantined_sessions
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo, silent
from nanoclaw_core.timing import Timing


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("name", [IN, OUT])
@pytest.mark.parametrize("damage", DAMAGES)
def test_message_after_damage_is_answered_in_fresh_session(
    instance: Instance, damage: Callable[[Path], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    have_conversation(instance)
    damaged = session_of(instance)
    damage(file_of(instance, name))

    async def scenario() -> tuple[list[str], list[str]]:
        async with running_host(instance) as running:
            await running.channel.say("elsewhere", room="other")
            await running.channel.texts(1)
            await running.channel.say("after")
            texts = await running.channel.texts(3)
            return texts[:1], sorted(texts[1:])

    others, ours = asyncio.run(scenario())
    assert others == ["echo: elsewhere"]
    assert ours[0].startswith(TOLD)
    assert damaged.id in ours[0]
    assert ours[1] == "echo: after"
    (aside,) = quarantined_sessions(instance.paths.home / "sessions")
    assert aside.startswith(f"{damaged.id}.broken-")
    assert session_of(instance).id != damaged.id
    (line,) = [record for record in caplog.records if record.message == "session quarantined"]
    assert vars(line)["session"] == damaged.id
    assert Path(name).name in vars(line)["reason"]
    assert vars(line)["files"].endswith(aside)


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_outbound_db_loses_and_repeats_nothing(instance: Instance, damage: Callable[[Path], None]) -> None:
    """Only the waiting message goes to the fresh session.

    The answered one gets no second answer.
    """

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(answering(1))) as running:
            await running.channel.say("one")
            await running.channel.texts(1)
            await running.channel.say("two")

    async def answers_by_name(runner: FakeRunner) -> int:
        messages = await runner.take()
        known = inbound.destinations(runner.received)[0]  # a runner resolves the name that an agent writes
        words = [json.loads(message.content)["text"] for message in messages]
        runner.answer(messages, f"by name: {words}", channel=known.channel, room=known.room)
        await asyncio.Event().wait()
        return 0

    async def second() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(answers_by_name)) as running:
            await running.channel.texts(2)
            await running.host.components.queues.drained()
            return await running.channel.texts(2)

    asyncio.run(first())
    damage(file_of(instance, OUT))
    inbox = apsw.Connection(str(file_of(instance, IN)))
    inbox.execute("UPDATE messages_in SET status = 'pending'")  # as after a crash before the host copied everything
    inbox.close()
    texts = asyncio.run(second())
    assert texts[0].startswith(TOLD)
    assert texts[1:] == ["by name: ['two']"]


@pytest.mark.defect(number=25)
def test_damage_while_sandbox_runs_stops_it(instance: Instance) -> None:
    """The next sandbox has a fresh session, and answers the message."""

    async def damages_outbound_db(runner: FakeRunner) -> int:
        if len(runtime.specs) > 1:
            return await echo(runner)
        await runner.take()
        fill_with_garbage(runner.files.outbound_db)
        runner.bell.ring()
        await asyncio.Event().wait()
        return 0

    runtime = ScriptedRuntime(damages_outbound_db)

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            return await running.channel.texts(2)

    texts = asyncio.run(scenario())
    assert texts[0].startswith(TOLD)
    assert texts[1] == "echo: hi"


def test_message_that_damages_each_session_is_given_up(instance: Instance) -> None:
    """After `MAX_TRIES` fresh sessions the host stops.

    From the second quarantine on there is a pause before each try. People read that there is no answer.
    """

    async def damages_outbound_db(runner: FakeRunner) -> int:
        await runner.take()
        fill_with_garbage(runner.files.outbound_db)
        return 1

    timing = Timing(requarantine_s=0.01, sweep_s=0.01)

    async def scenario() -> str:
        async with running_host(instance, runtime=ScriptedRuntime(damages_outbound_db), timing=timing) as running:
            texts: list[str] = []
            await running.channel.say("hi")
            while not texts or "I could not answer" not in texts[-1]:
                texts = await running.channel.texts(len(texts) + 1)
            return texts[-1]

    text = asyncio.run(scenario())
    assert "I could not answer your last message; please use other words." in text
    assert "msg-" in text
    assert len(quarantined_sessions(instance.paths.home / "sessions")) == MAX_TRIES + 1


def test_host_start_finds_damage_of_session_with_work(instance: Instance) -> None:
    """People are told at once, and asked to send their lost message again."""

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hi")

    async def second() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    fill_with_garbage(file_of(instance, IN))
    (told,) = asyncio.run(second())
    assert told.startswith(TOLD)
    assert "please send it again" in told


@pytest.mark.invariant(number=4)
def test_attachment_follows_message_to_fresh_session(instance: Instance) -> None:
    async def damages_outbound_db(runner: FakeRunner) -> int:
        await runner.take()
        fill_with_garbage(runner.files.outbound_db)
        return 1

    async def reads_attachment(runner: FakeRunner) -> int:
        if len(runtime.specs) == 1:
            return await damages_outbound_db(runner)
        messages = await runner.take()
        (attachment,) = json.loads(messages[-1].content)["attachments"]
        runner.answer(messages, (runner.files.incoming / attachment["path"]).read_text())
        return 0

    runtime = ScriptedRuntime(reads_attachment)

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("look", attachments=[Attachment(name="a.txt", content=b"its words")])
            return await running.channel.texts(2)

    assert asyncio.run(scenario())[1] == "its words"
