"""Delivery queues: fairness, a central database that refuses writes, and unexpected errors."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from delivery_doubles import KeyBuilder, QuietEvents, RepairedDatabase, adapters_of, context_of
from nanoclaw_untrusted.database_outage import DatabaseOutage
from nanoclaw_wire.content import Message

from nanoclaw_core import Address, Outbound, OutboundFile
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.ids import DeliveryId
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S
from nanoclaw_core.timing import Timing


def delivery(number: int, room: str = "r") -> Delivery:
    return Delivery(
        id=DeliveryId(f"d{number}"), position=number, channel="chat", room=room, thread=None, kind="chat", content="{}"
    )


def queues_to(platform: object, instance: Instance, **more: Any) -> DeliveryQueues:
    return DeliveryQueues(context_of(instance, **({"adapters": adapters_of(platform)} | more)))


class Platform:
    """A channel that accepts each message.

    The database refuses writes from the first one on.
    """

    def __init__(self, instance: Instance) -> None:
        self.taken: list[str] = []
        self._db = instance.db

    async def deliver(self, _address: Address, message: Outbound) -> str:
        if not self.taken:
            self._db.pragma("query_only", 1)
        self.taken.append(message.idempotency_key)
        return "platform-id"


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("is_full_before", [True, False])
def test_refusing_database_loses_and_repeats_no_delivery(instance: Instance, is_full_before: bool) -> None:
    platform = Platform(instance)

    async def scenario(messages: Sequence[Delivery]) -> None:
        queues = queues_to(platform, instance, outage=RepairedDatabase(instance.db, after=3))
        deliveries.add(instance.db, messages)
        if is_full_before:
            instance.db.pragma("query_only", 1)
        queues.put(messages)
        await queues.drained()

    asyncio.run(scenario([delivery(1), delivery(2)]))
    assert platform.taken == ["d1", "d2"]
    assert deliveries.open_deliveries(instance.db) == []


class InstantPlatform:
    """A channel that accepts each message without waiting."""

    def __init__(self) -> None:
        self.rooms: list[str] = []

    async def deliver(self, address: Address, _message: Outbound) -> str:
        self.rooms.append(address.room)
        return "platform-id"


def test_long_queue_delays_no_other_queue(instance: Instance) -> None:
    """The platform accepts each message at once, so no delivery waits."""
    platform = InstantPlatform()
    messages = [*(delivery(number, "long") for number in range(200)), delivery(200, "short")]

    async def scenario() -> None:
        queues = queues_to(platform, instance)
        deliveries.add(instance.db, messages)
        queues.put(messages)
        await queues.drained()

    asyncio.run(scenario())
    assert platform.rooms.index("short") <= 2
    assert len(platform.rooms) == 201


@pytest.mark.parametrize("is_asleep", [True, False], ids=["before", "while"])
def test_stop_ends_queues_that_wait_for_the_database(instance: Instance, is_asleep: bool) -> None:
    """A queue that cannot record its message ends, if it waited before the stop or is refused during it."""

    async def scenario() -> None:
        outage = DatabaseOutage()
        queues = queues_to(InstantPlatform(), instance, outage=outage, timing=Timing(store_retry_s=3_600))
        queues.put([delivery(1)])
        if is_asleep:
            await until(lambda: outage.refused)
        await queues.drain_for()
        async with asyncio.timeout(WAIT_S):
            await queues.drained()

    deliveries.add(instance.db, [delivery(1)])
    instance.db.pragma("query_only", 1)
    asyncio.run(scenario())
    instance.db.pragma("query_only", 0)
    assert [open_delivery.id for open_delivery in deliveries.open_deliveries(instance.db)] == ["d1"]


def test_refusing_database_logs_one_line_for_all_queues(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """50 rooms are refused and recover; the log has one line per change."""
    messages = [delivery(number, f"room {number}") for number in range(50)]

    async def scenario() -> None:
        outage = RepairedDatabase(instance.db, after=3 * len(messages))
        queues = queues_to(InstantPlatform(), instance, outage=outage)
        queues.put(messages)
        await queues.drained()

    deliveries.add(instance.db, messages)
    instance.db.pragma("query_only", 1)
    asyncio.run(scenario())
    about = [text for text in caplog.messages if text != "message delivered"]
    assert about == ["central database refuses writes", "central database accepts writes again"]


@pytest.mark.parametrize("attempts", [0, 1])
def test_unreadable_date_is_due_now(instance: Instance, attempts: int) -> None:
    """A damaged row is sent, and the messages behind it follow."""
    platform = InstantPlatform()
    first = evolve(delivery(1), next_try_at="soon", created_at="once", deliver_after="?", attempts=attempts)

    async def scenario() -> None:
        queues = queues_to(platform, instance)
        queues.start()
        await queues.drained()

    deliveries.add(instance.db, [first, delivery(2)])
    asyncio.run(scenario())
    assert deliveries.open_deliveries(instance.db) == []
    assert len(platform.rooms) == 2


def test_unexpected_error_fails_one_message(instance: Instance) -> None:
    """The message fails with a plain reason, and its room continues."""
    platform, reasons = InstantPlatform(), []
    errors = [RuntimeError("no adapter today")]

    class Adapters(dict[str, object]):
        def get(self, channel: str, default: object = None) -> object:
            if errors:
                raise errors.pop()
            return super().get(channel, default)

    class Failures(QuietEvents):
        async def delivery_failed(self, delivery: Delivery, reason: str) -> None:
            reasons.append(reason)

    async def scenario() -> None:
        queues = queues_to(platform, instance, adapters=Adapters(adapters_of(platform)), events=Failures())
        queues.put([delivery(1), delivery(2)])
        await queues.drained()

    deliveries.add(instance.db, [delivery(1), delivery(2)])
    asyncio.run(scenario())
    states = [stored.status for number in (1, 2) if (stored := deliveries.get(instance.db, DeliveryId(f"d{number}")))]
    assert states == [DeliveryStatus.FAILED, DeliveryStatus.SENT]
    assert reasons == ["the host cannot process it: RuntimeError: no adapter today"]


def test_sent_message_stays_sent_if_its_callback_fails(instance: Instance) -> None:
    """An error after the platform accepted a message must not send it again."""

    class NoClearing(KeyBuilder):
        def build(self, delivery: Delivery, message: Message | None) -> Outbound:
            return evolve(super().build(delivery, message), files=[OutboundFile(name="a", content=b"")])

        def clear(self, delivery: Delivery) -> None:
            if delivery.id == "d1":
                raise RuntimeError("no clearing today")

    async def scenario() -> None:
        queues = queues_to(InstantPlatform(), instance, builder=NoClearing())
        queues.put([delivery(1), delivery(2)])
        await queues.drained()

    deliveries.add(instance.db, [delivery(1), delivery(2)])
    asyncio.run(scenario())
    states = [stored.status for number in (1, 2) if (stored := deliveries.get(instance.db, DeliveryId(f"d{number}")))]
    assert states == [DeliveryStatus.SENT, DeliveryStatus.SENT]


class Unstoppable:
    """A channel that swallows the cancellation of its deliveries, and accepts them after the queues are closed."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.is_sending, self.may_end = asyncio.Event(), asyncio.Event()

    async def deliver(self, _address: Address, message: Outbound) -> str:
        self.taken.append(message.idempotency_key)
        self.is_sending.set()
        while not self.may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.may_end.wait()
        return "platform-id"


async def close_while_sending(platform: Unstoppable, instance: Instance, *late: Delivery) -> list[BaseException | None]:
    """Send two messages to a room and close the queues during the first; return the errors of their tasks.

    `late` are queued after the queues are closed.
    """
    before = asyncio.all_tasks()
    queues = queues_to(platform, instance, timing=Timing(cancel_s=0))
    queues.put([delivery(1), delivery(2)])
    await platform.is_sending.wait()
    await queues.close()
    queues.put(late)
    platform.may_end.set()
    tasks = asyncio.all_tasks() - before
    await asyncio.wait(tasks)
    return [task.exception() for task in tasks]


def test_delivery_that_outlives_its_queue_raises_nothing(instance: Instance) -> None:
    """The adapter swallows the cancellation of its attempt."""
    deliveries.add(instance.db, [delivery(1), delivery(2)])
    assert asyncio.run(close_while_sending(Unstoppable(), instance)) == [None]


def test_closed_queues_start_no_further_delivery(instance: Instance) -> None:
    """The next host sends the message that waits in the room, and a late one to another room."""
    platform, late = Unstoppable(), delivery(3, "another room")
    deliveries.add(instance.db, [delivery(1), delivery(2), late])
    asyncio.run(close_while_sending(platform, instance, late))
    assert platform.taken == ["d1"]
    assert [waiting.id for waiting in deliveries.open_deliveries(instance.db)] == ["d2", "d3"]


class LoneSurrogates(InstantPlatform):
    """A channel with a lone surrogate in its error and ids, as in undecodable file names."""

    async def deliver(self, address: Address, message: Outbound) -> str:
        await super().deliver(address, message)
        if len(self.rooms) == 1:
            raise OSError("cannot open \udcff.txt")
        return "id-\udcff"


def test_lone_surrogates_of_a_platform_are_escaped(instance: Instance) -> None:
    """SQLite stores no lone surrogate.

    The message is still retried and recorded as sent.
    """

    async def scenario() -> None:
        queues = queues_to(LoneSurrogates(), instance, max_age_s=60.0)
        queues.put([delivery(1)])
        await queues.drained()

    deliveries.add(instance.db, [delivery(1)])
    asyncio.run(scenario())
    stored = deliveries.get(instance.db, DeliveryId("d1"))
    assert stored is not None
    assert (stored.status, stored.attempts, stored.platform_message_id) == (DeliveryStatus.SENT, 2, "id-\\udcff")
