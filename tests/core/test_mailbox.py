"""Copying the acknowledgements of runners into inbound.db, by a running host."""

import asyncio
import logging

import pytest
from nanoclaw_wire import clock, outbound
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core.mailbox.mailbox import MAX_ACK_BATCHES
from nanoclaw_core.mailbox.outbox import ROW_BATCH
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


@pytest.mark.invariant(number=12)
def test_failed_message_is_logged_with_its_correlation_id(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    async def failing(runner: FakeRunner) -> int:
        failed = [(message.id, AckStatus.FAILED) for message in await runner.take()]
        invented = [("no-such-message", AckStatus.FAILED)]
        outbound.write(runner.written, now=clock.now_text(), acknowledge=failed + invented)
        ended.set()
        return 0

    async def scenario() -> str:
        async with running_host(instance, runtime=ScriptedRuntime(failing)) as running:
            receipt = await running.channel.say("hi")
            await ended.wait()
            return receipt.correlation_id

    ended = asyncio.Event()
    caplog.set_level(logging.WARNING, logger="nanoclaw_core.mailbox.mailbox")
    correlation_id = asyncio.run(scenario())
    [line] = [record for record in caplog.records if record.message == "message failed"]
    assert line.correlation == correlation_id
    assert line.details.match("sessions/*/out/runner.log")


@pytest.mark.invariant(number=3)
def test_answer_with_the_revision_of_a_claim_is_copied(instance: Instance) -> None:
    """A fresh runner deletes the claim of a dead one, which the host has read, and uses its revision again."""

    async def starts_afresh(runner: FakeRunner) -> int:
        messages = await runner.take()
        claimed.set()
        await is_read.wait()
        outbound.acquire(runner.written, runner="fresh", now=clock.now_text())
        outbound.write(
            runner.written, now=clock.now_text(), acknowledge=[(m.id, AckStatus.COMPLETED) for m in messages]
        )
        answered.set()
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(starts_afresh)) as running:
            components = running.host.components
            await running.channel.say("hi")
            await claimed.wait()
            await components.sweeper.once()
            is_read.set()
            await answered.wait()
            await components.sweeper.once()
            inbox = components.mailbox.inbox.read(instance.sessions()[0].id)
            return [status for (status,) in inbox.execute("SELECT status FROM messages_in")]

    claimed, is_read, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    assert asyncio.run(scenario()) == ["completed"]


@pytest.mark.invariant(number=6)
def test_acknowledgements_are_copied_in_limited_batches(instance: Instance) -> None:
    """A sandbox can write faster than the host reads.

    The sweep must reach the other sessions.
    """

    async def acknowledges_much(runner: FakeRunner) -> int:
        await runner.take()
        runner.written.execute(
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n LIMIT ?)"
            " INSERT INTO acknowledgements SELECT 'in-' || i, 'completed', 'x', i FROM n",
            (2 * MAX_ACK_BATCHES * ROW_BATCH,),
        )
        written.set()
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[int]:
        async with running_host(instance, runtime=ScriptedRuntime(acknowledges_much)) as running:
            await running.channel.say("hi")
            await written.wait()
            revisions = []
            for _ in range(2):
                await running.host.components.sweeper.once()
                revisions.append(instance.sessions()[0].acknowledged_revision)
            return revisions

    written = asyncio.Event()
    assert asyncio.run(scenario()) == [MAX_ACK_BATCHES * ROW_BATCH, 2 * MAX_ACK_BATCHES * ROW_BATCH]
