"""Messages that a platform does not accept: retries, refusals, pauses, notices."""

import asyncio
import json

import pytest
from instance_state import delivery_states
from runner_scripts import writing

from nanoclaw_core import Address, CoreSettings, DeliveryRefused, Outbound
from nanoclaw_core.delivery.attempts import pause_after
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, silent


def test_message_that_fails_beyond_max_age_is_given_up(instance: Instance) -> None:
    async def scenario() -> int:
        async with running_host(instance, runtime=ScriptedRuntime(writing({"text": "hello"}))) as running:
            running.channel.troubles = [ConnectionError("down")] * 3
            await running.channel.say("hi")
            await until(lambda: delivery_states(instance) == [("failed", 3)])
            return len(running.channel.attempts)

    assert asyncio.run(scenario()) == 3


def test_retried_message_keeps_its_idempotency_key(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(writing({"text": "hello"}))) as running:
            running.channel.troubles = [ConnectionError("hiccup")]
            await running.channel.say("hi")
            await running.channel.texts(1)
            return [attempt.idempotency_key for attempt in running.channel.attempts]

    first, second = asyncio.run(scenario())
    assert first == second
    assert delivery_states(instance) == [("sent", 2)]


def test_refused_message_is_not_retried(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(writing({"text": "hello"}))) as running:
            running.channel.troubles = [DeliveryRefused("the chat is closed")]
            await running.channel.say("hi")
            await until(lambda: delivery_states(instance) == [("failed", 1)])

    asyncio.run(scenario())


@pytest.mark.defect(number=23)
def test_failing_message_is_not_overtaken(instance: Instance) -> None:
    async def scenario() -> list[str]:
        script = writing({"text": "first"}, {"text": "second"})
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            running.channel.troubles = [ConnectionError("1"), ConnectionError("2")]
            await running.channel.say("hi")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["first", "second"]


@pytest.mark.defect(number=23)
def test_agent_is_informed_of_a_failed_message(instance: Instance) -> None:
    received: list[str] = []

    async def script(runner: FakeRunner) -> int:
        first = await runner.take()
        runner.answer(first, "lost")
        second = await runner.take()
        received.extend(json.loads(message.content)["text"] for message in second)
        runner.answer(second, "thanks")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            running.channel.troubles = [ConnectionError("down")] * 3
            await running.channel.say("hi")
            await until(lambda: delivery_states(instance) == [("failed", 3)])
            await running.channel.say("and?")
            await running.channel.texts(1)

    asyncio.run(scenario())
    assert "could not be delivered" in received[0]
    assert received[1] == "and?"


@pytest.mark.defect(number=23)
def test_message_for_a_missing_channel_records_the_reason(instance: Instance) -> None:
    async def asked() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.say("hi")

    async def answered_without_the_channel() -> str:
        another, answering = RecorderChannel("another"), ScriptedRuntime(writing({"text": "hello"}))
        async with running_host(instance, channel=another, runtime=answering):
            error = "SELECT last_error FROM deliveries WHERE (status, attempts) = ('queued', 0)"
            await until(lambda: instance.db.execute(error).get)
            return str(instance.db.execute(error).get)

    asyncio.run(asked())
    assert asyncio.run(answered_without_the_channel()) == "the channel 'recorder' is not running"


@pytest.mark.invariant(number=4)
def test_next_host_sends_queued_message_under_same_key(instance: Instance) -> None:
    class Unreachable(RecorderChannel):
        async def deliver(self, address: Address, message: Outbound) -> str:
            self.attempts.append(message)
            await asyncio.Event().wait()
            return ""

    async def first() -> str:
        channel = Unreachable()
        async with running_host(instance, channel=channel, runtime=ScriptedRuntime(writing({"text": "hi"}))) as running:
            await running.channel.say("hello")
            await until(lambda: channel.attempts)
            return channel.attempts[0].idempotency_key

    async def second() -> str:
        async with running_host(instance) as running:
            await running.channel.texts(1)
            return running.channel.delivered[0].message.idempotency_key

    assert asyncio.run(first()) == asyncio.run(second())
    assert delivery_states(instance) == [("sent", 1)]  # a host that stops does not count as a failed attempt


def test_retry_pauses_grow_to_minutes() -> None:
    """An outage causes few attempts, and its end is noticed within minutes."""
    pauses_s = CoreSettings().delivery_pauses_s
    assert [pause_after(attempts, pauses_s) for attempts in (1, 2, 3, 4, 99)] == [2.0, 15.0, 60.0, 240.0, 240.0]
