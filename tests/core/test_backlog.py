"""Flow control counts moving messages only.

Waiting messages have a limit per session and room (I14).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from attrs import evolve
from delivery_doubles import adapters_of, context_of
from nanoclaw_wire import clock, outbound
from nanoclaw_wire.inbound import InboundMessage
from nanoclaw_wire.outbound import AckStatus, NewOutbound, OutKind

from nanoclaw_core import Address, Outbound
from nanoclaw_core.delivery.backlog import MAX_WAITING, Backlog
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.store import deliveries, sessions
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo
from nanoclaw_core.timing import Timing

AN_HOUR_S = 3_600.0
SESSION = SessionId("ses-1")
BROKEN, GARDEN = ("recorder", "broken"), ("recorder", "garden")

pytestmark = pytest.mark.invariant(number=14)


class HalfBroken(RecorderChannel):
    """A channel that fails for one room."""

    async def deliver(self, address: Address, message: Outbound) -> str:
        if address.room == "broken":
            self.attempts.append(message)
            raise ConnectionError("down")
        return await super().deliver(address, message)


def delivery(number: int = 0, room: str = "broken", *, in_s: float = 0.0) -> Delivery:
    later = clock.to_text(clock.now() + timedelta(seconds=in_s)) if in_s else None
    return Delivery(
        id=DeliveryId(f"dlv-{number}"), position=number, channel="recorder", room=room, thread=None, kind="chat",
        content='{"text": "hi"}', session_id=SESSION, next_try_at=later, deliver_after=later,
        created_at=clock.now_text(), updated_at=clock.now_text(),
    )  # fmt: skip


def backlog(*, absent: str = "") -> Backlog:
    return Backlog({"chat", "recorder"} - {absent})


def may_wait(counted: Backlog, message: Delivery) -> bool:
    return counted.refusal(message) is None


def test_stopped_room_leaves_flow_control() -> None:
    """Old and new messages of the room wait; messages of other rooms move."""
    counted = backlog()
    counted.enter(delivery(1))
    counted.enter(delivery(2, "garden"))
    assert counted.moving[SESSION] == 2
    counted.stop(BROKEN)
    counted.enter(delivery(3))
    assert (counted.moving[SESSION], counted.unfinished(SESSION)) == (1, 3)


def test_recovered_room_counts_only_new_messages() -> None:
    """Messages that waited leave without flow control; new ones move."""
    counted = backlog()
    waited = counted.enter(delivery(1))
    counted.stop(BROKEN)
    counted.resume(BROKEN)
    moves = counted.enter(delivery(2))
    assert counted.moving[SESSION] == 1
    counted.leave(waited)
    assert (counted.moving[SESSION], counted.unfinished(SESSION)) == (1, 1)
    counted.leave(moves)
    assert (counted.moving[SESSION], counted.unfinished(SESSION)) == (0, 0)


def test_waiting_messages_have_a_limit_per_room() -> None:
    """The first message beyond the limit is refused with limit and reason.

    Other rooms are not affected.
    """
    counted = backlog()
    counted.stop(BROKEN)
    counted.stop(GARDEN)
    for number in range(MAX_WAITING):
        assert may_wait(counted, delivery(number))
        counted.enter(delivery(number))
    reason = counted.refusal(delivery())
    assert reason == (
        "2000 of your messages wait for the room 'broken' of the channel 'recorder', because its platform did not "
        "accept them yet. This is the limit. Write it again when they are sent."
    )
    assert may_wait(counted, delivery(room="garden"))
    assert may_wait(counted, evolve(delivery(), session_id=SessionId("ses-2")))


def accepted(counted: Backlog, *, in_s: float = 0.0) -> int:
    """Enter messages for one room until the backlog refuses one, and return their number."""
    for number in range(MAX_WAITING + 1):
        if counted.refusal(message := delivery(number, in_s=in_s)) is not None:
            return number
        counted.enter(message)
    return MAX_WAITING + 1


@pytest.mark.parametrize("in_s", [0.0, AN_HOUR_S], ids=["now", "later"])
def test_limit_counts_the_messages_of_one_import(in_s: float) -> None:
    """A batch cannot exceed the limit."""
    counted = backlog()
    counted.stop(BROKEN)
    assert accepted(counted, in_s=in_s) == MAX_WAITING


def test_room_of_a_missing_channel_has_the_limit() -> None:
    """The limit applies from the first message, before a queue knows that the channel is missing."""
    counted = backlog(absent="recorder")
    assert accepted(counted) == MAX_WAITING
    assert counted.moving[SESSION] == 0


def test_scheduled_messages_have_their_own_limit() -> None:
    """Messages for next year stop neither the import nor an answer that is due now."""
    counted = backlog()
    for number in range(MAX_WAITING):
        counted.enter(delivery(number, in_s=AN_HOUR_S))
    assert counted.moving[SESSION] == 0
    assert not may_wait(counted, delivery(in_s=AN_HOUR_S))
    assert may_wait(counted, delivery())


def test_scheduled_message_that_falls_due_moves_or_waits() -> None:
    """It waits if its room is stopped."""
    counted = backlog()
    first, second = counted.enter(delivery(1, in_s=AN_HOUR_S)), counted.enter(delivery(2, "garden", in_s=AN_HOUR_S))
    counted.stop(BROKEN)
    for counted_message in (first, second):
        counted.fall_due(counted_message)
    assert (counted.moving[SESSION], counted.unfinished(SESSION)) == (1, 2)


def chats(count: int, room: str) -> list[NewOutbound]:
    return [
        NewOutbound(
            id=f"{room}-{number}",
            kind=OutKind.CHAT,
            at=clock.now_text(),
            content=json.dumps({"text": f"{room} {number}"}),
            channel="recorder",
            room=room,
        )
        for number in range(count)
    ]


def wired(instance: Instance) -> Instance:
    """Wire two more rooms to the agent and one to another agent.

    Only one sandbox may run.
    """
    patient = make_instance(
        instance.paths.home, delivery_pauses_s=[AN_HOUR_S], delivery_max_age_s=86_400.0, max_sandboxes=1
    )
    for room in ("broken", "garden"):
        patient.wire(room=room)
    patient.wire(room="hall", folder="another")
    return patient


def test_full_room_delays_neither_rooms_nor_sandboxes(instance: Instance) -> None:
    """One room exceeds its limit.

    The other room gets its message, and the sandbox frees its slot.
    """

    async def floods(runner: FakeRunner) -> int:
        if len(runtime.specs) > 1:
            return await echo(runner)
        messages = await runner.take()
        write(runner, messages, [*chats(MAX_WAITING + 1, "broken"), *chats(1, "garden")])
        return 0

    runtime = ScriptedRuntime(floods)

    async def scenario() -> tuple[list[str], list[str]]:
        async with running_host(patient, channel=HalfBroken(), runtime=runtime) as running:
            await running.channel.say("flood")
            await running.channel.texts(1)
            await running.channel.say("hi", room="hall")
            texts = await running.channel.texts(2)
            (session, _) = patient.sessions()
            inbox = running.host.components.mailbox.inbox.read(session.id)
            query = "SELECT json_extract(content, '$.text') FROM messages_in WHERE content LIKE '%was not sent%'"
            await until(lambda: inbox.execute(query).get)
            return texts, [text for (text,) in inbox.execute(query)]

    patient = wired(instance)
    texts, notes = asyncio.run(scenario())
    assert texts == ["garden 0", "echo: hi"]
    assert len(notes) == 1
    assert notes[0].startswith("A message you wrote was not sent: 2000 of your messages wait for the room 'broken'")
    refused = "SELECT content FROM deliveries WHERE room = 'broken' AND status = 'failed'"
    assert patient.db.execute(refused).get == "{}"  # a flood must not fill the database
    query = "SELECT status, count(*) FROM deliveries WHERE room = 'broken' GROUP BY status"
    assert patient.db.execute(query).fetchall() == [("failed", 1), ("queued", MAX_WAITING)]


def write(runner: FakeRunner, done: Sequence[InboundMessage], rows: Sequence[NewOutbound]) -> None:
    finished = [(message.id, AckStatus.COMPLETED) for message in done]
    outbound.write(runner.written, now=clock.now_text(), messages=rows, acknowledge=finished)
    runner.idle()


def make_queues(instance: Instance, channel: RecorderChannel | None) -> DeliveryQueues:
    """Make queues for a session of the instance.

    None stands for a channel that does not run.
    """
    sessions.add(instance.db, Session(id=SESSION, agent_group_id=instance.group().id, conversation="c"))
    return DeliveryQueues(context_of(instance, adapters_of(channel), pauses_s=(AN_HOUR_S,), max_age_s=86_400.0))


def test_next_host_counts_waiting_messages(instance: Instance) -> None:
    """The counts include the messages of the earlier host before the first attempt."""

    async def scenario() -> None:
        queues = make_queues(instance, HalfBroken())
        with instance.db:
            deliveries.add(instance.db, [delivery(number) for number in range(1, MAX_WAITING + 1)])
        deliveries.mark_sending(instance.db, DeliveryId("dlv-1"))
        deliveries.mark_waiting(instance.db, DeliveryId("dlv-1"), clock.now_text(), "down")
        queues.start()
        assert (queues.backlog.moving[SESSION], queues.backlog.unfinished(SESSION)) == (0, MAX_WAITING)
        assert queues.backlog.refusal(delivery()) is not None
        assert queues.backlog.refusal(delivery(room="garden")) is None
        await queues.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("in_s", [0.0, AN_HOUR_S], ids=["absent", "dated"])
def test_discarded_message_is_not_counted(instance: Instance, in_s: float) -> None:
    """This also holds if its queue has not reached it."""

    async def scenario() -> None:
        queues = make_queues(instance, None)
        deliveries.add(instance.db, [message := delivery(1, in_s=in_s)])
        queues.put([message])
        deliveries.mark_failed(instance.db, message.id, "discarded")
        queues.refresh(evolve(message, status=DeliveryStatus.FAILED))
        await queues.drained()
        assert queues.backlog.unfinished(SESSION) == 0
        await queues.close()

    asyncio.run(scenario())


def test_message_queued_twice_counts_once(instance: Instance) -> None:
    """The operator discards and retries it before its queue reaches it."""

    async def scenario() -> None:
        queues = make_queues(instance, None)
        deliveries.add(instance.db, [message := delivery(1)])
        queues.put([message])
        queues.refresh(message)
        await queues.drained()
        assert queues.backlog.unfinished(SESSION) == 1
        await queues.close()

    asyncio.run(scenario())


def test_refused_import_is_not_counted(instance: Instance) -> None:
    """A central database that refuses writes for a time leaves no count behind.

    The message is sent once.
    """
    may_answer = asyncio.Event()

    async def answers(runner: FakeRunner) -> int:
        messages = await runner.take()
        await may_answer.wait()
        write(runner, messages, chats(1, "room"))
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[str]:
        timing = Timing(store_retry_s=0.01)
        async with running_host(instance, runtime=ScriptedRuntime(answers), timing=timing) as running:
            components = running.host.components
            await running.channel.say("hi")
            components.db.pragma("query_only", 1)
            may_answer.set()
            await until(lambda: components.outage.refused > 2)
            (session,) = instance.sessions()
            assert components.queues.backlog.unfinished(session.id) == 0
            components.db.pragma("query_only", 0)
            texts = await running.channel.texts(1)
            await components.queues.drained()
            assert components.queues.backlog.unfinished(session.id) == 0
            return texts

    assert asyncio.run(scenario()) == ["room 0"]
