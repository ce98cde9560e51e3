"""Bringing inbound.db up to date with what runners acknowledged, seen from a running host."""

import asyncio
import logging

import pytest
from nanoclaw_wire import clock, outbound
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


def test_invariant_12_a_message_that_failed_is_logged_with_its_correlation_id_and_where_the_reason_is(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
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
