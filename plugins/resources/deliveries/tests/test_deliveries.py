"""Tests of `ncl deliveries` on a running host with a platform that refuses some messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nanoclaw_resource_deliveries.host as deliveries
import nanoclaw_resource_registry.host as registry
from attrs import evolve, frozen
from registry_host import Client, client

from nanoclaw_core import DeliveryRefused
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance

HOUR_S = 3_600.0


@frozen
class DeliveryHost:
    """A running host and the operator's connection."""

    running: Running
    operator: Client

    async def with_status(self, status: str) -> str:
        """Wait until a message that was tried has this status, and return its id."""
        query = "SELECT id FROM deliveries WHERE status = ? AND attempts > 0"
        await until(lambda: self.running.instance.db.execute(query, (status,)).get)
        return str(self.running.instance.db.execute(query, (status,)).get)


@asynccontextmanager
async def delivery_host(instance: Instance, pause_s: float = HOUR_S) -> AsyncIterator[DeliveryHost]:
    """Run a host that tries for a day, with a pause between two attempts."""
    instance.wire()
    core = evolve(instance.settings.core, delivery_pauses_s=[pause_s], delivery_max_age_s=24 * HOUR_S)
    instance.settings = evolve(instance.settings, core=core)
    async with (
        running_host(instance, deliveries=deliveries, registry=registry) as running,
        client(instance) as operator,
    ):
        yield DeliveryHost(running, operator)


def test_retry_sends_a_failed_message_under_its_old_key(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            host.running.channel.troubles.append(DeliveryRefused("the room is closed"))
            await host.running.channel.say("hello")
            failed = await host.with_status("failed")
            assert await host.operator.data("deliveries", "retry", failed) == {"retried": failed}
            assert await host.running.channel.texts(1) == ["echo: hello"]
            assert [delivery.message.idempotency_key for delivery in host.running.channel.delivered] == [failed]
            assert (await host.operator.data("deliveries", "get", failed))["status"] == "sent"

    asyncio.run(scenario())


def test_retry_of_a_sent_message_is_refused(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            await host.running.channel.say("hello")
            await host.running.channel.texts(1)
            sent = await host.with_status("sent")
            code, message = await host.operator.refusal("deliveries", "retry", sent)
            assert (code, message) == (
                "invalid-args",
                f"deliveries: {sent} is sent. Only a failed message can be retried",
            )
            assert len(host.running.channel.attempts) == 1

    asyncio.run(scenario())


def test_discard_releases_the_next_message_at_once(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            host.running.channel.troubles.append(OSError("the platform is down"))
            await host.running.channel.say("first")
            waiting = await host.with_status("queued")
            await host.running.channel.say("second")
            await until(lambda: nanoclaw_instance.db.execute("SELECT count(*) FROM deliveries").get == 2)
            assert await host.operator.data("deliveries", "discard", waiting) == {"discarded": waiting}
            assert await host.running.channel.texts(1) == ["echo: second"]
            row = await host.operator.data("deliveries", "get", waiting)
            assert (row["status"], row["last_error"]) == ("failed", "discarded")

    asyncio.run(scenario())


def test_discard_of_a_message_behind_another_is_kept(nanoclaw_instance: Instance) -> None:
    """The discarded message is not sent when the one before it is discarded."""

    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            host.running.channel.troubles.append(OSError("the platform is down"))
            await host.running.channel.say("first")
            waiting = await host.with_status("queued")
            await host.running.channel.say("second")
            query = "SELECT id FROM deliveries WHERE attempts = 0"
            await until(lambda: nanoclaw_instance.db.execute(query).get)
            behind = nanoclaw_instance.db.execute(query).get
            await host.operator.data("deliveries", "discard", behind)
            await host.running.channel.say("third")
            await until(lambda: nanoclaw_instance.db.execute("SELECT count(*) FROM deliveries").get == 3)
            await host.operator.data("deliveries", "discard", waiting)
            assert await host.running.channel.texts(1) == ["echo: third"]

    asyncio.run(scenario())


def test_message_discarded_and_retried_is_sent_once(nanoclaw_instance: Instance) -> None:
    """It waits behind another message during both."""

    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            host.running.channel.troubles.append(OSError("the platform is down"))
            await host.running.channel.say("first")
            waiting = await host.with_status("queued")
            await host.running.channel.say("second")
            query = "SELECT id FROM deliveries WHERE attempts = 0"
            await until(lambda: nanoclaw_instance.db.execute(query).get)
            behind = nanoclaw_instance.db.execute(query).get
            await host.operator.data("deliveries", "discard", behind)
            await host.operator.data("deliveries", "retry", behind)
            await host.operator.data("deliveries", "discard", waiting)
            await host.running.channel.texts(1)
            await host.running.channel.say("third")
            assert await host.running.channel.texts(2) == ["echo: second", "echo: third"]

    asyncio.run(scenario())


COUNT_FAILED = "SELECT count(*) FROM deliveries WHERE status = 'failed'"


async def fail_three(host: DeliveryHost, instance: Instance) -> None:
    """Let the platform refuse the answers to "one", "two" and "three"."""
    for text in ("one", "two", "three"):
        host.running.channel.troubles.append(DeliveryRefused("the room is closed"))
        await host.running.channel.say(text)
        await until(lambda: not host.running.channel.troubles)
    await until(lambda: instance.db.execute(COUNT_FAILED).get == 3)


def test_retry_all_sends_what_was_tried(nanoclaw_instance: Instance) -> None:
    """A message that was never tried stays failed, because it may have been refused."""

    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            await fail_three(host, nanoclaw_instance)
            nanoclaw_instance.db.execute("UPDATE deliveries SET attempts = 0 WHERE content LIKE '%two%'")
            assert await host.operator.data("deliveries", "retry", all=True) == {"retried": 2, "left": 0}
            assert await host.running.channel.texts(2) == ["echo: one", "echo: three"]

    asyncio.run(scenario())


def test_retry_all_puts_back_all_or_none(nanoclaw_instance: Instance) -> None:
    """If the database refuses one row, every message stays failed, and the operator may try again."""

    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            await fail_three(host, nanoclaw_instance)
            nanoclaw_instance.db.execute(
                "CREATE TRIGGER refuse BEFORE UPDATE ON deliveries WHEN OLD.content LIKE '%three%'"
                " BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
            code, message = await host.operator.refusal("deliveries", "retry", all=True)
            assert (code, "no room" in message) == ("handler-error", True)
            assert nanoclaw_instance.db.execute(COUNT_FAILED).get == 3
            nanoclaw_instance.db.execute("DROP TRIGGER refuse")
            assert await host.operator.data("deliveries", "retry", all=True) == {"retried": 3, "left": 0}
            assert await host.running.channel.texts(3) == ["echo: one", "echo: two", "echo: three"]

    asyncio.run(scenario())


def test_discard_right_after_retry_all_counts(nanoclaw_instance: Instance) -> None:
    """A message that the operator discards during the retries is not sent."""

    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            for text in ("one", "two", "three"):
                host.running.channel.troubles.append(DeliveryRefused("the room is closed"))
                await host.running.channel.say(text)
                await until(lambda: not host.running.channel.troubles)
            query = "SELECT id FROM deliveries WHERE status = 'failed' ORDER BY position"
            await until(lambda: len(nanoclaw_instance.db.execute(query).fetchall()) == 3)
            (_, (second,), _) = nanoclaw_instance.db.execute(query).fetchall()
            host.running.channel.troubles.append(OSError("the platform is down"))
            assert await host.operator.data("deliveries", "retry", all=True) == {"retried": 3, "left": 0}
            first = await host.with_status("queued")
            await host.operator.data("deliveries", "discard", second)
            await host.operator.data("deliveries", "discard", first)
            assert await host.running.channel.texts(1) == ["echo: three"]

    asyncio.run(scenario())


def test_retry_starts_the_age_of_a_message_again(nanoclaw_instance: Instance) -> None:
    """An old message is not given up at once if the platform is down at the retry."""

    async def scenario() -> str:
        async with delivery_host(nanoclaw_instance, 0.01) as host:
            host.running.channel.troubles.append(DeliveryRefused("the room is closed"))
            await host.running.channel.say("hello")
            failed = await host.with_status("failed")
            nanoclaw_instance.db.execute("UPDATE deliveries SET created_at = '2020-01-05T15:04:00.000Z'")
            host.running.channel.troubles += [OSError("the platform is down")] * 9
            await host.operator.data("deliveries", "retry", failed)
            return (await host.running.channel.texts(1))[0]

    assert asyncio.run(scenario()) == "echo: hello"


def test_retry_without_id_or_all_is_refused(nanoclaw_instance: Instance) -> None:
    """Both together are refused, too."""

    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            for words, options in (((), {}), (("dlv-x",), {"all": True}), ((), {"all": False})):
                code, message = await host.operator.refusal("deliveries", "retry", *words, **options)
                assert (code, message.partition(".")[0]) == (
                    "invalid-args",
                    "deliveries retry: needs either --id or --all",
                )

    asyncio.run(scenario())


def test_unknown_delivery_is_not_found(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with delivery_host(nanoclaw_instance) as host:
            for verb in ("retry", "discard", "get"):
                assert (await host.operator.refusal("deliveries", verb, "dlv-none"))[0] == "not-found"

    asyncio.run(scenario())
