"""The router of a running host: rooms, threads, wirings and sessions."""

import asyncio
import json

import apsw
import pytest
from instance_state import dropped_messages, routing_of, stored_messages
from nanoclaw_wire.inbound import Routing

from nanoclaw_core import InvalidArguments, Outcome, Receipt
from nanoclaw_core.store import messaging, sessions
from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy, SessionMode
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, silent


def test_message_in_a_wired_room_is_answered(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance) as running:
            receipt = await running.channel.say("hello")
            assert receipt.outcome is Outcome.ROUTED
            assert await running.channel.texts(1) == ["echo: hello"]

    asyncio.run(scenario())


def test_plain_message_in_an_unknown_room_is_ignored(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("hello", room="elsewhere")

    assert asyncio.run(scenario()).outcome is Outcome.IGNORED
    assert messaging.find(instance.db, "recorder", "elsewhere") is None


def test_mention_in_an_unknown_room_is_recorded_as_unwired(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("hello", room="elsewhere", is_mention=True)

    receipt = asyncio.run(scenario())
    assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, "no agent is wired to this room")
    assert messaging.find(instance.db, "recorder", "elsewhere") is not None
    assert dropped_messages(instance) == [("ada", "no_agent_wired", 1)]


def test_messages_of_a_room_share_a_session(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("one")
            await running.channel.say("two")

    asyncio.run(scenario())
    (session,) = instance.sessions()
    assert [json.loads(message.content)["text"] for message in stored_messages(instance, session)] == ["one", "two"]


def test_each_wired_agent_has_its_own_session_and_answers(instance: Instance) -> None:
    instance.wire(folder="other")

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hello")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: hello", "echo: hello"]
    assert len(instance.sessions()) == 2


def test_accumulate_stores_a_message_without_waking(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION, ignored_policy=IgnoredPolicy.ACCUMULATE)

    async def scenario() -> tuple[Receipt, int]:
        async with running_host(bare_instance) as running:
            return await running.channel.say("by the way"), len(running.runtime.specs)

    receipt, sandboxes = asyncio.run(scenario())
    assert (receipt.outcome, sandboxes) == (Outcome.ACCUMULATED, 0)
    (message,) = stored_messages(bare_instance, bare_instance.sessions()[0])
    assert message.trigger is False


def test_dropped_message_makes_no_session(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION)

    async def scenario() -> Receipt:
        async with running_host(bare_instance) as running:
            return await running.channel.say("by the way")

    assert asyncio.run(scenario()).outcome is Outcome.IGNORED
    assert bare_instance.sessions() == []


def test_stored_row_has_channel_room_and_thread(bare_instance: Instance) -> None:
    bare_instance.wire(session_mode=SessionMode.SHARED)

    async def scenario() -> None:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hello", thread="t1", message_id="p-1")

    asyncio.run(scenario())
    (message,) = stored_messages(bare_instance, bare_instance.sessions()[0])
    assert (message.channel, message.room, message.thread) == ("recorder", "room", "t1")
    assert message.platform_message_id == "p-1"


def test_thread_of_a_group_is_its_own_conversation(bare_instance: Instance) -> None:
    bare_instance.wire(is_group=True)

    async def scenario() -> None:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            for thread in ("a", "b", "a"):
                await running.channel.say("hello", thread=thread, is_group=True)

    asyncio.run(scenario())
    assert sorted(session.thread or "" for session in bare_instance.sessions()) == ["a", "b"]


@pytest.mark.defect(number=1)
def test_failing_wiring_does_not_stop_the_next(instance: Instance) -> None:
    instance.wire(folder="other", priority=-1)

    async def both_hear() -> None:
        async with running_host(instance) as running:
            await running.channel.say("first")
            await running.channel.texts(2)

    async def second() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("second")
            return await running.channel.texts(1)

    asyncio.run(both_hear())
    damaged = sessions.find(instance.db, instance.group().id, f"room:{instance.room().id}")
    assert damaged is not None
    db = apsw.Connection(str(instance.paths.home / "sessions" / damaged.id / "in" / "inbound.db"))
    db.pragma("user_version", 99)  # another version, which the host neither reads nor repairs
    db.close()
    assert asyncio.run(second()) == ["echo: second"]


@pytest.mark.defect(number=3)
def test_accumulated_message_does_not_make_an_agent_sticky(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION_STICKY, ignored_policy=IgnoredPolicy.ACCUMULATE, is_group=True)

    async def scenario() -> list[Outcome]:
        async with running_host(bare_instance, runtime=ScriptedRuntime(silent)) as running:
            says = running.channel.say
            return [
                (await says("one")).outcome,
                (await says("two")).outcome,
                (await says("@agent", is_mention=True)).outcome,
                (await says("three")).outcome,
            ]

    assert asyncio.run(scenario()) == [Outcome.ACCUMULATED, Outcome.ACCUMULATED, Outcome.ROUTED, Outcome.ROUTED]


def test_stickiness_is_per_thread_and_survives_a_restart(bare_instance: Instance) -> None:
    bare_instance.wire(engage_mode=EngageMode.MENTION_STICKY, is_group=True)

    async def mention() -> None:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("@agent", thread="a", is_mention=True, is_group=True)

    async def follow_up() -> list[Outcome]:
        channel = RecorderChannel(has_threads=True)
        async with running_host(bare_instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            return [(await running.channel.say("on", thread=thread, is_group=True)).outcome for thread in ("a", "b")]

    asyncio.run(mention())
    assert asyncio.run(follow_up()) == [Outcome.ROUTED, Outcome.IGNORED]


@pytest.mark.defect(number=37)
def test_agent_shared_session_follows_the_last_room(bare_instance: Instance) -> None:
    bare_instance.wire(room="private")
    bare_instance.wire(room="a", session_mode=SessionMode.AGENT_SHARED)
    bare_instance.wire(room="b", session_mode=SessionMode.AGENT_SHARED)

    async def scenario() -> list[str]:
        async with running_host(bare_instance) as running:
            for count, room in enumerate(("private", "a", "b", "a"), 1):
                await running.channel.say(f"in {room}", room=room)
                await running.channel.texts(count)
            return [sent.address.room for sent in running.channel.delivered]

    assert asyncio.run(scenario()) == ["private", "a", "b", "a"]
    (shared,) = [session for session in bare_instance.sessions() if session.messaging_group_id is None]
    assert len(bare_instance.sessions()) == 2
    assert routing_of(bare_instance, shared) == Routing(channel="recorder", room="a")


@pytest.mark.defect(number=44)
def test_room_keeps_the_name_of_its_platform(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("hello", room_name="The Garden")
            await running.channel.say("hello", room_name="The Yard")

    asyncio.run(scenario())
    assert instance.room().name == "The Yard"


@pytest.mark.parametrize("pattern", ["(", "[b-a]", "(" * 3000 + ")" * 3000])
def test_pattern_that_does_not_compile_is_refused(bare_instance: Instance, pattern: str) -> None:
    with pytest.raises(InvalidArguments, match="engage_pattern: it is"):
        bare_instance.wire(engage_mode=EngageMode.PATTERN, engage_pattern=pattern)


def test_messages_of_a_room_keep_their_order_at_each_agent(bare_instance: Instance) -> None:
    """A channel passes two messages side by side.

    The second agent reads the one to both first.
    """
    for name in ("ann", "bob"):
        bare_instance.wire(folder=name, engage_mode=EngageMode.PATTERN, engage_pattern=f"@{name}")
    read: dict[str, list[str]] = {}

    async def script(runner: FakeRunner) -> int:
        while True:
            messages = await runner.take()
            texts = [json.loads(message.content)["text"] for message in messages]
            read.setdefault(runner.spec.session_id, []).extend(texts)
            runner.answer(messages, "ok")

    async def scenario() -> None:
        async with running_host(bare_instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("@ann @bob first")
            await running.channel.texts(2)
            await asyncio.gather(running.channel.say("@ann @bob older"), running.channel.say("@bob younger"))
            await until(lambda: sum(map(len, read.values())) == 5)

    asyncio.run(scenario())
    assert ["@ann @bob first", "@ann @bob older", "@bob younger"] in read.values()
