"""`ncl deliveries`, asked of a running host whose platform does not take everything."""

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

AN_HOUR_S = 3_600.0


@frozen
class Post:
    """A running host and the operator's connection."""

    running: Running
    operator: Client

    async def with_status(self, status: str) -> str:
        """Wait for a message that was tried and is in a state now, and return its id."""
        query = "SELECT id FROM deliveries WHERE status = ? AND attempts > 0"
        await until(lambda: self.running.instance.db.execute(query, (status,)).get)
        return str(self.running.instance.db.execute(query, (status,)).get)


@asynccontextmanager
async def post(instance: Instance, pause_s: float = AN_HOUR_S) -> AsyncIterator[Post]:
    """Run a host that tries for a day, with a pause between two attempts."""
    instance.wire()
    core = evolve(instance.settings.core, delivery_pauses_s=[pause_s], delivery_max_age_s=24 * AN_HOUR_S)
    instance.settings = evolve(instance.settings, core=core)
    async with (
        running_host(instance, deliveries=deliveries, registry=registry) as running,
        client(instance) as operator,
    ):
        yield Post(running, operator)


def test_what_failed_for_good_is_sent_once_more_under_its_old_key(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            here.running.channel.troubles.append(DeliveryRefused("the room is closed"))
            await here.running.channel.say("hello")
            failed = await here.with_status("failed")
            assert await here.operator.data("deliveries", "retry", failed) == {"retried": failed}
            assert await here.running.channel.texts(1) == ["echo: hello"]
            assert [one.message.idempotency_key for one in here.running.channel.delivered] == [failed]
            assert (await here.operator.data("deliveries", "get", failed))["status"] == "sent"

    asyncio.run(scenario())


def test_what_was_sent_cannot_be_retried(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            await here.running.channel.say("hello")
            await here.running.channel.texts(1)
            sent = await here.with_status("sent")
            code, why = await here.operator.refusal("deliveries", "retry", sent)
            assert (code, why) == (
                "invalid-args",
                f"deliveries: {sent} is sent; only what failed for good can be retried",
            )
            assert len(here.running.channel.attempts) == 1

    asyncio.run(scenario())


def test_what_waits_is_given_up_and_what_is_behind_it_goes_out_at_once(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            here.running.channel.troubles.append(OSError("the platform is away"))
            await here.running.channel.say("first")
            waits = await here.with_status("queued")
            await here.running.channel.say("second")
            await until(lambda: nanoclaw_instance.db.execute("SELECT count(*) FROM deliveries").get == 2)
            assert await here.operator.data("deliveries", "discard", waits) == {"discarded": waits}
            assert await here.running.channel.texts(1) == ["echo: second"]
            row = await here.operator.data("deliveries", "get", waits)
            assert (row["status"], row["last_error"]) == ("failed", "discarded")

    asyncio.run(scenario())


def test_what_waits_behind_another_is_given_up_too(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            here.running.channel.troubles.append(OSError("the platform is away"))
            await here.running.channel.say("first")
            waits = await here.with_status("queued")
            await here.running.channel.say("second")
            query = "SELECT id FROM deliveries WHERE attempts = 0"
            await until(lambda: nanoclaw_instance.db.execute(query).get)
            behind = nanoclaw_instance.db.execute(query).get
            await here.operator.data("deliveries", "discard", behind)
            await here.running.channel.say("third")
            await until(lambda: nanoclaw_instance.db.execute("SELECT count(*) FROM deliveries").get == 3)
            await here.operator.data("deliveries", "discard", waits)
            assert await here.running.channel.texts(1) == ["echo: third"]

    asyncio.run(scenario())


def test_what_was_given_up_behind_another_and_retried_goes_out_once(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            here.running.channel.troubles.append(OSError("the platform is away"))
            await here.running.channel.say("first")
            waits = await here.with_status("queued")
            await here.running.channel.say("second")
            query = "SELECT id FROM deliveries WHERE attempts = 0"
            await until(lambda: nanoclaw_instance.db.execute(query).get)
            behind = nanoclaw_instance.db.execute(query).get
            await here.operator.data("deliveries", "discard", behind)
            await here.operator.data("deliveries", "retry", behind)
            await here.operator.data("deliveries", "discard", waits)
            await here.running.channel.texts(1)
            await here.running.channel.say("third")
            assert await here.running.channel.texts(2) == ["echo: second", "echo: third"]

    asyncio.run(scenario())


def test_retry_all_sends_what_was_tried(nanoclaw_instance: Instance) -> None:
    """After an outage the operator need not name each message; one that was never allowed out stays in."""

    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            for text in ("one", "two", "three"):
                here.running.channel.troubles.append(DeliveryRefused("the room is closed"))
                await here.running.channel.say(text)
                await until(lambda: not here.running.channel.troubles)
            query = "SELECT count(*) FROM deliveries WHERE status = 'failed'"
            await until(lambda: nanoclaw_instance.db.execute(query).get == 3)
            nanoclaw_instance.db.execute("UPDATE deliveries SET attempts = 0 WHERE content LIKE '%two%'")
            assert await here.operator.data("deliveries", "retry", all=True) == {"retried": 2, "left": 0}
            assert await here.running.channel.texts(2) == ["echo: one", "echo: three"]

    asyncio.run(scenario())


def test_retry_all_puts_back_all_or_none(nanoclaw_instance: Instance) -> None:
    """A database that refuses one row leaves every message failed, and the operator may ask again."""

    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            for text in ("one", "two", "three"):
                here.running.channel.troubles.append(DeliveryRefused("the room is closed"))
                await here.running.channel.say(text)
                await until(lambda: not here.running.channel.troubles)
            query = "SELECT count(*) FROM deliveries WHERE status = 'failed'"
            await until(lambda: nanoclaw_instance.db.execute(query).get == 3)
            nanoclaw_instance.db.execute(
                "CREATE TRIGGER refuse BEFORE UPDATE ON deliveries WHEN OLD.content LIKE '%three%'"
                " BEGIN SELECT RAISE(ABORT, 'no room'); END"
            )
            code, why = await here.operator.refusal("deliveries", "retry", all=True)
            assert (code, "no room" in why) == ("handler-error", True)
            assert nanoclaw_instance.db.execute(query).get == 3
            nanoclaw_instance.db.execute("DROP TRIGGER refuse")
            assert await here.operator.data("deliveries", "retry", all=True) == {"retried": 3, "left": 0}
            assert await here.running.channel.texts(3) == ["echo: one", "echo: two", "echo: three"]

    asyncio.run(scenario())


def test_discard_right_after_retry_all_counts(nanoclaw_instance: Instance) -> None:
    """What the operator gives up while many messages are retried is not sent."""

    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            for text in ("one", "two", "three"):
                here.running.channel.troubles.append(DeliveryRefused("the room is closed"))
                await here.running.channel.say(text)
                await until(lambda: not here.running.channel.troubles)
            query = "SELECT id FROM deliveries WHERE status = 'failed' ORDER BY position"
            await until(lambda: len(nanoclaw_instance.db.execute(query).fetchall()) == 3)
            (_, (second,), _) = nanoclaw_instance.db.execute(query).fetchall()
            here.running.channel.troubles.append(OSError("the platform is away"))
            assert await here.operator.data("deliveries", "retry", all=True) == {"retried": 3, "left": 0}
            first = await here.with_status("queued")
            await here.operator.data("deliveries", "discard", second)
            await here.operator.data("deliveries", "discard", first)
            assert await here.running.channel.texts(1) == ["echo: three"]

    asyncio.run(scenario())


def test_retry_starts_the_age_of_a_message_again(nanoclaw_instance: Instance) -> None:
    """A message of long ago is not given up at once if the platform does not work at the retry."""

    async def scenario() -> str:
        async with post(nanoclaw_instance, 0.0) as here:
            here.running.channel.troubles.append(DeliveryRefused("the room is closed"))
            await here.running.channel.say("hello")
            failed = await here.with_status("failed")
            nanoclaw_instance.db.execute("UPDATE deliveries SET created_at = '2020-01-05T15:04:00.000Z'")
            here.running.channel.troubles += [OSError("the platform is away")] * 9
            await here.operator.data("deliveries", "retry", failed)
            return (await here.running.channel.texts(1))[0]

    assert asyncio.run(scenario()) == "echo: hello"


def test_retry_without_id_or_all_is_refused(nanoclaw_instance: Instance) -> None:
    """Neither is a slip, and both contradict each other."""

    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            for words, options in (((), {}), (("dlv-x",), {"all": True}), ((), {"all": False})):
                code, why = await here.operator.refusal("deliveries", "retry", *words, **options)
                assert (code, why.partition(".")[0]) == (
                    "invalid-args",
                    "deliveries retry: needs either an id or --all",
                )

    asyncio.run(scenario())


def test_a_delivery_that_is_not_there_is_not_found(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with post(nanoclaw_instance) as here:
            for verb in ("retry", "discard", "get"):
                assert (await here.operator.refusal("deliveries", verb, "dlv-none"))[0] == "not-found"

    asyncio.run(scenario())
