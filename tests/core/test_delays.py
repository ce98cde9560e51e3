"""Each thread gets one notice that its messages were delayed, also if the host restarts or crashes."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from delivery_doubles import QuietEvents, RepairedDatabase, adapters_of, context_of
from nanoclaw_wire import clock

from nanoclaw_core import Address, DeliveryRefused, Outbound, hookimpl
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store import deliveries, sessions
from nanoclaw_core.store.deliveries import Delivery
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import RecorderChannel

LONG_AGO = "2020-01-05T15:04:00.000Z"
LATER = "2020-03-05T15:04:00.000Z"
SESSION = SessionId("ses-1")

pytestmark = pytest.mark.invariant(number=4)


@pytest.fixture
def instance(instance: Instance) -> Instance:
    """Return an instance with a session, a huge maximum age and the shortest retry pause."""
    sessions.add(instance.db, Session(id=SESSION, agent_group_id=instance.group().id, conversation="c"))
    return make_instance(
        instance.paths.home, delivery_pauses_s=[0.01], delivery_max_age_s=1e9, timezone="Europe/London"
    )


def queued(number: int, *, thread: str | None = None, error: str | None = None, created_at: str = LONG_AGO) -> Delivery:
    return Delivery(
        id=DeliveryId(f"dlv-{number}"), position=number, channel="recorder", room="room", thread=thread, kind="chat",
        content=f'{{"text": "{number}"}}', session_id=SESSION, message_seq=2 * number + 1, last_error=error,
        attempts=int(error is not None), created_at=created_at, updated_at=created_at,
    )  # fmt: skip


def delivered(
    instance: Instance, count: int, *, channel: RecorderChannel | None = None
) -> list[tuple[str | None, str]]:
    """Run a host until its queues are empty.

    Return the thread and text of each of `count` messages.
    """

    async def scenario(channel: RecorderChannel) -> list[tuple[str | None, str]]:
        async with running_host(instance, channel=channel) as running:
            await running.channel.texts(count)
            await running.host.components.queues.drained()
            return [(sent.address.thread, sent.message.text) for sent in channel.delivered]

    return asyncio.run(scenario(channel or RecorderChannel()))


def since(date: str) -> str:
    return f"Messages here were delayed since {date}, 3:04 PM. Waiting messages have now been sent."


def messages_that_owe_a_notice(instance: Instance) -> list[str]:
    return [
        delivery_id
        for (delivery_id,) in instance.db.execute("SELECT id FROM deliveries WHERE owes_notice = 1 ORDER BY position")
    ]


def test_delay_notice_is_sent_in_each_thread(instance: Instance) -> None:
    """A thread gets the notice even if its messages only waited behind a failed one."""
    messages = [
        queued(1, thread="a", error="down"),
        queued(2, thread="b", created_at=LATER),
        queued(3),
        queued(4, thread="b"),
    ]
    deliveries.add(instance.db, messages)
    assert delivered(instance, 7) == [
        *(("a", "1"), ("b", "2"), (None, "3"), ("b", "4")),
        *(("a", since("Jan 5, 2020")), ("b", since("Mar 5, 2020")), (None, since("Jan 5, 2020"))),
    ]
    assert messages_that_owe_a_notice(instance) == []


def test_delay_notice_is_sent_by_the_next_host(instance: Instance) -> None:
    """The host died after the last late message; the next host sends the notice once."""
    deliveries.add(instance.db, [queued(1, thread="a")])
    deliveries.mark_sent(instance.db, DeliveryId("dlv-1"), "p-1", owes_notice=True)
    assert delivered(instance, 1) == [("a", since("Jan 5, 2020"))]
    assert delivered(instance, 0) == []


def test_delay_notice_is_sent_once_after_a_crash(instance: Instance) -> None:
    """The host died between the notice and its record.

    The next host does not repeat the notice.
    """
    deliveries.add(instance.db, [queued(1, thread="a")])
    deliveries.mark_sent(instance.db, DeliveryId("dlv-1"), "p-1", owes_notice=True)
    delivered(instance, 1)
    instance.db.execute("UPDATE deliveries SET owes_notice = 1 WHERE id = 'dlv-1'")
    assert delivered(instance, 0) == []
    assert messages_that_owe_a_notice(instance) == []


def test_delay_notice_covers_the_rest_of_the_queue(instance: Instance) -> None:
    """The host died after the first late message.

    The messages behind it never failed but are late, too.
    """
    deliveries.add(instance.db, [queued(1, thread="a"), queued(2, thread="b"), queued(3, thread="a")])
    deliveries.mark_sent(instance.db, DeliveryId("dlv-1"), "p-1", owes_notice=True)
    assert delivered(instance, 4) == [
        *(("b", "2"), ("a", "3")),
        *(("a", since("Jan 5, 2020")), ("b", since("Jan 5, 2020"))),
    ]


class Flapping(RecorderChannel):
    """A channel that accepts each message at the second attempt."""

    async def deliver(self, address: Address, message: Outbound) -> str:
        if message.idempotency_key not in {attempt.idempotency_key for attempt in self.attempts}:
            self.attempts.append(message)
            raise ConnectionError("down")
        return await super().deliver(address, message)


def test_delay_notice_of_a_flapping_platform_is_sent_once(instance: Instance) -> None:
    """The notice waits until the queue is empty, even if the platform fails between messages."""
    deliveries.add(instance.db, [queued(number, error="down" if number == 1 else None) for number in range(1, 4)])
    messages = delivered(instance, 4, channel=Flapping())
    assert [text for _, text in messages] == ["1", "2", "3", since("Jan 5, 2020")]


def test_delay_notice_is_not_sent_for_a_refused_message(instance: Instance) -> None:
    """A refused message was not sent, so it was not late."""
    channel = RecorderChannel()
    channel.troubles = [DeliveryRefused("the room is closed")]
    deliveries.add(instance.db, [queued(1, error="down")])
    assert delivered(instance, 0, channel=channel) == []


def test_delay_counts_from_deliver_after(instance: Instance) -> None:
    """An old message that is due now is not late."""
    now = clock.now_text()
    deliveries.add(instance.db, [queued(1, error="down")])
    instance.db.execute("UPDATE deliveries SET deliver_after = ?", (now,))
    assert [text for _, text in delivered(instance, 1)] == ["1"]
    assert messages_that_owe_a_notice(instance) == []


def test_delay_notice_waits_for_the_database(instance: Instance) -> None:
    """A central database that refuses writes delays the notice.

    The notice keeps its deduplication key.
    """
    notices: list[tuple[Address, str]] = []

    class FullDisk:
        @hookimpl
        def nanoclaw_message_delivered(self) -> None:
            instance.db.pragma("query_only", 1)

    class Notices(QuietEvents):
        def delivery_delayed(self, address: Address, since: datetime, dedup_key: str) -> None:
            notices.append((address, dedup_key))

    async def scenario() -> None:
        plugins = Plugins()
        plugins.add(FullDisk(), name="full-disk")
        outage = RepairedDatabase(instance.db, after=1)
        context = context_of(
            instance,
            adapters_of(RecorderChannel()),
            plugins=plugins,
            events=Notices(),
            max_age_s=86_400.0,
            outage=outage,
        )
        queues = DeliveryQueues(context)
        queues.start()
        await queues.drained()

    deliveries.add(instance.db, [queued(1, error="down")])
    instance.db.execute("UPDATE deliveries SET attempts = 0")
    asyncio.run(scenario())
    assert notices == [(Address("recorder", "room"), "late-dlv-1")] * 2
    assert messages_that_owe_a_notice(instance) == []
