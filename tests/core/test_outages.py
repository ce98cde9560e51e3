"""Outages of a platform: a failed attempt is retried.

Only a refusal is final (I4).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial

import pytest
from instance_state import delivery_states
from nanoclaw_wire import clock

from nanoclaw_core import Address, DeliveryRefused, Outbound
from nanoclaw_core.ids import DeliveryId
from nanoclaw_core.store import deliveries
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

A_DAY_S = 86_400.0
AN_HOUR_S = 3_600.0
LONG_AGO = "2020-01-05T15:04:00.000Z"

pytestmark = pytest.mark.invariant(number=4)


@pytest.fixture
def instance(instance: Instance) -> Instance:
    """Return the instance with the default maximum age and the shortest retry pause."""
    return patient(instance, 0.01)


def patient(instance: Instance, *pauses_s: float) -> Instance:
    return make_instance(instance.paths.home, delivery_pauses_s=list(pauses_s), delivery_max_age_s=A_DAY_S)


def has_answers(instance: Instance, count: int) -> bool:
    return len(delivery_states(instance)) == count


async def left_waiting(instance: Instance, *texts: str) -> None:
    """Run a host until its first attempt has failed; the next attempt is an hour away."""
    async with running_host(patient(instance, AN_HOUR_S)) as running:
        running.channel.troubles = [ConnectionError("down")]
        for count, text in enumerate(texts, 1):
            await running.channel.say(text)
            await until(partial(has_answers, instance, count))
        await until(lambda: delivery_states(instance)[0] == ("queued", 1))
    instance.db.execute("UPDATE deliveries SET next_try_at = NULL")


def test_outage_of_any_length_loses_no_message(instance: Instance) -> None:
    """A platform that fails 50 times accepts the message at the 51st attempt, under one key."""

    async def scenario() -> set[str]:
        async with running_host(instance) as running:
            running.channel.troubles = [ConnectionError("down")] * 50
            await running.channel.say("hi")
            await running.channel.texts(1)
            return {attempt.idempotency_key for attempt in running.channel.attempts}

    assert len(asyncio.run(scenario())) == 1
    assert delivery_states(instance) == [("sent", 51)]


def test_refusal_after_an_outage_is_final(instance: Instance) -> None:
    """A platform that works again may still refuse the message."""

    async def scenario() -> None:
        async with running_host(instance) as running:
            running.channel.troubles = [ConnectionError("down")] * 5 + [DeliveryRefused("the room is closed")]
            await running.channel.say("hi")
            await until(lambda: delivery_states(instance) == [("failed", 6)])

    asyncio.run(scenario())


class HalfBroken(RecorderChannel):
    """A channel that fails for one room."""

    async def deliver(self, address: Address, message: Outbound) -> str | None:
        if address.room == "broken":
            raise ConnectionError("down")
        return await super().deliver(address, message)


def test_outage_of_one_room_delays_no_other(instance: Instance) -> None:
    """Each room has its own queue."""
    instance.wire(room="broken")
    instance.wire(room="garden")

    async def scenario() -> list[str]:
        async with running_host(patient(instance, AN_HOUR_S), channel=HalfBroken()) as running:
            await running.channel.say("one", room="broken")
            await until(lambda: ("queued", 1) in delivery_states(instance))
            await running.channel.say("two", room="garden")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: two"]


def test_missing_channel_keeps_its_messages(instance: Instance) -> None:
    """A host without the plugin counts no attempt.

    The next host with it sends all messages in order.
    """

    async def scenario() -> list[str]:
        await left_waiting(instance, "one", "two")
        async with running_host(instance, channel=RecorderChannel("another")) as running:
            await until(lambda: all("is not running" in error for (error,) in errors(instance)))
            assert running.host.status()["waiting_to_be_sent"] == {"recorder": 2}
        assert delivery_states(instance) == [("queued", 1), ("queued", 0)]
        async with running_host(instance) as running:
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: one", "echo: two"]


def errors(instance: Instance) -> list[tuple[str]]:
    return instance.db.execute("SELECT ifnull(last_error, '') FROM deliveries").fetchall()


def test_message_for_a_missing_channel_can_be_discarded(instance: Instance) -> None:
    """The operator may discard a message that no channel can send.

    It then leaves the backlog of its session.
    """

    async def scenario() -> None:
        await left_waiting(instance, "one")
        async with running_host(instance, channel=RecorderChannel("another")) as running:
            await until(lambda: all("is not running" in error for (error,) in errors(instance)))
            (delivery,) = deliveries.open_deliveries(instance.db)
            assert delivery.session_id is not None
            deliveries.mark_failed(instance.db, delivery.id, "discarded")
            running.host.components.queues.refresh(deliveries.get(instance.db, delivery.id) or delivery)
            assert running.host.components.queues.backlog.unfinished(delivery.session_id) == 0

    asyncio.run(scenario())


def test_attempt_cut_off_by_a_host_kill_counts_once(instance: Instance) -> None:
    """A host that is killed during an attempt proves nothing about the platform."""

    async def scenario() -> None:
        await left_waiting(instance, "one")
        instance.db.execute("UPDATE deliveries SET status = 'sending', attempts = 4")
        async with running_host(instance) as running:
            await running.channel.texts(1)

    asyncio.run(scenario())
    assert delivery_states(instance) == [("sent", 4)]


def test_end_of_outage_is_reported_once_in_the_room(instance: Instance) -> None:
    """Without a notice, people would read an old answer as a new one."""

    async def scenario() -> list[str]:
        await left_waiting(instance, "one", "two")
        instance.db.execute("UPDATE deliveries SET created_at = ?", (LONG_AGO,))
        async with running_host(instance) as running:
            return await running.channel.texts(3)

    first, second, notice = asyncio.run(scenario())
    assert (first, second) == ("echo: one", "echo: two")
    assert notice.startswith("Messages here were delayed since Jan 5, 2020, ")
    assert notice.endswith(". Waiting messages have now been sent.")
    assert len(delivery_states(instance)) == 3


def test_discarded_delayed_message_sends_no_notice(instance: Instance) -> None:
    """A discarded message was not sent, so it was not late."""

    async def scenario() -> list[str]:
        await left_waiting(instance, "one", "two")
        instance.db.execute(
            "UPDATE deliveries SET created_at = ?, next_try_at = '2099-01-05T15:04:00.000Z'", (LONG_AGO,)
        )
        async with running_host(patient(instance, AN_HOUR_S)) as running:
            for delivery in deliveries.open_deliveries(instance.db):
                deliveries.mark_failed(instance.db, delivery.id, "discarded")
                running.host.components.queues.refresh(deliveries.get(instance.db, delivery.id) or delivery)
            await running.channel.say("three")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: three"]


def test_short_outage_is_not_reported(instance: Instance) -> None:
    """A delay of seconds needs no notice."""

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            running.channel.troubles = [ConnectionError("hiccup")] * 3
            await running.channel.say("one")
            await running.channel.texts(1)
            await running.channel.say("two")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: one", "echo: two"]


def test_expired_message_is_given_up_and_reported(instance: Instance) -> None:
    """An answer expires after a day, and its agent is informed."""

    async def scenario() -> str:
        await left_waiting(instance, "one")
        instance.db.execute("UPDATE deliveries SET created_at = ?", (LONG_AGO,))
        async with running_host(instance) as running:
            running.channel.troubles = [ConnectionError("down")] * 9
            await until(lambda: delivery_states(instance) == [("failed", 3)])
            session_id = instance.db.execute("SELECT session_id FROM deliveries").get
            inbox = running.host.components.mailbox.inbox.read(session_id)
            notes = (
                "SELECT json_extract(content, '$.text') FROM messages_in WHERE content LIKE '%could not be delivered%'"
            )
            await until(lambda: inbox.execute(notes).get)
            return str(inbox.execute(notes).get)

    assert asyncio.run(scenario()).endswith("it will not be tried again: ConnectionError: down")


def test_attempts_of_earlier_hosts_use_up_no_pause(instance: Instance) -> None:
    """The clock may jump between two hosts, so each host uses all its pauses before the age counts."""

    async def scenario() -> None:
        await left_waiting(instance, "one")
        instance.db.execute("UPDATE deliveries SET created_at = ?, attempts = 50", (LONG_AGO,))
        async with running_host(patient(instance, 0.01, 0.01)) as running:
            running.channel.troubles = [ConnectionError("down")] * 9
            await until(lambda: delivery_states(instance)[0][0] == "failed")

    asyncio.run(scenario())
    assert delivery_states(instance) == [("failed", 53)]


def test_first_pause_of_a_new_host_is_the_shortest(instance: Instance) -> None:
    """A restart may have removed the cause of the failure."""

    async def scenario() -> list[str]:
        await left_waiting(instance, "one")
        instance.db.execute("UPDATE deliveries SET attempts = 50")
        async with running_host(patient(instance, 0.01, AN_HOUR_S)) as running:
            running.channel.troubles = [ConnectionError("down")]
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: one"]


@pytest.mark.parametrize("column", ["deliver_after", "retried_at"])
def test_age_counts_from_the_last_date_of_a_message(instance: Instance, column: str) -> None:
    """An old message that is due today, or that the operator retries today, has a day of attempts."""

    async def scenario() -> list[str]:
        await left_waiting(instance, "one")
        instance.db.execute(f"UPDATE deliveries SET created_at = ?, {column} = ?", (LONG_AGO, clock.now_text()))
        async with running_host(instance) as running:
            running.channel.troubles = [ConnectionError("down")] * 9
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: one"]


def test_deliver_after_of_a_message_is_kept(instance: Instance) -> None:
    """Attempts change `next_try_at`, and the next host needs the original date."""
    due = clock.to_text(clock.now())

    async def script(runner: FakeRunner) -> int:
        runner.answer(await runner.take(), "hi", deliver_after=due)
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        soon = patient(instance, AN_HOUR_S)
        async with running_host(soon, runtime=ScriptedRuntime(script)) as running:
            running.channel.troubles = [ConnectionError("down")]
            await running.channel.say("one")
            await until(lambda: delivery_states(instance) == [("queued", 1)])

    asyncio.run(scenario())
    ((next_try_at, deliver_after),) = instance.db.execute("SELECT next_try_at, deliver_after FROM deliveries")
    assert deliver_after == due
    assert next_try_at > due


@pytest.mark.parametrize("status", ["queued", "sending"])
def test_message_left_by_a_host_waits_for_its_channel(instance: Instance, status: str) -> None:
    """The interrupted message of a dead host is queued again, without another attempt."""
    now = clock.now_text()
    message = deliveries.Delivery(
        id=DeliveryId("dlv-x"), position=1, channel="gone", room="r", thread=None, kind="chat",
        content=json.dumps({"text": "hi"}), status=status, created_at=now, updated_at=now,
    )  # fmt: skip
    deliveries.add(instance.db, [message])

    async def scenario(waits: Callable[[], bool]) -> None:
        async with running_host(instance):
            await until(waits)

    asyncio.run(scenario(lambda: errors(instance) == [("the channel 'gone' is not running",)]))
    assert delivery_states(instance) == [("queued", 0)]
