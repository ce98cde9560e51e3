"""Stopping a host while its runtime, channel or database fails."""

import asyncio
import time

import pytest
from nanoclaw_wire import clock, outbound
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core import Address, Outbound, Receive, SandboxFailed, SandboxSpec, hookimpl
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S, RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, ScriptedSandbox
from nanoclaw_core.timing import Timing


class Unstoppable(ScriptedSandbox):
    """A sandbox of an engine that does not answer."""

    async def stop(self, _grace_s: float) -> None:
        raise SandboxFailed("the engine does not answer")


class OneUnstoppable(ScriptedRuntime):
    """A runtime that cannot stop its first sandbox."""

    async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
        if self.sandboxes:
            return await super().start(spec)
        self.specs.append(spec)
        self.sandboxes.append(Unstoppable(spec, self.script))
        return self.sandboxes[0]


def test_stop_is_not_delayed_by_an_unstoppable_sandbox(instance: Instance) -> None:
    """The other sandboxes end too, and the next host works."""
    instance.wire(room="other")

    async def scenario() -> tuple[float, list[str]]:
        async with running_host(instance, runtime=OneUnstoppable()) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            await running.channel.say("hello", room="other")
            await running.channel.texts(2)
            began = time.monotonic()
        took_s = time.monotonic() - began
        unstoppable, other = running.runtime.sandboxes
        await asyncio.wait_for(other.wait(), 1)
        await unstoppable.kill()
        async with running_host(instance) as next_host:
            await next_host.channel.say("still there?")
            return took_s, await next_host.channel.texts(1)

    took_s, texts = asyncio.run(scenario())
    assert took_s < 10
    assert texts == ["echo: still there?"]


class OneConnection(RecorderChannel):
    """A channel that sends over the connection of its `listen`, and only after the host begins to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.is_sending, self._is_stopping = asyncio.Event(), asyncio.Event()
        self._listener: asyncio.Task[object] | None = None

    @hookimpl
    def nanoclaw_host_stopping(self) -> None:
        self._is_stopping.set()

    async def listen(self, receive: Receive) -> None:
        self._listener = asyncio.current_task()
        await super().listen(receive)

    async def deliver(self, address: Address, message: Outbound) -> str:
        self.is_sending.set()
        await self._is_stopping.wait()
        if self._listener is None or self._listener.cancelling():
            raise ConnectionError("not connected")
        return await super().deliver(address, message)


@pytest.mark.invariant(number=4)
def test_stop_sends_the_last_messages_while_channels_run(instance: Instance) -> None:
    """A channel listens until the queues have drained."""

    async def scenario() -> None:
        channel = OneConnection()
        async with running_host(instance, channel=channel) as running:
            await running.channel.say("hi")
            await channel.is_sending.wait()

    asyncio.run(scenario())
    assert instance.db.execute("SELECT status, attempts FROM deliveries").fetchall() == [("sent", 1)]


def test_stop_does_not_wait_for_the_central_database(instance: Instance) -> None:
    """If the database refuses writes, the next host records the acknowledgement."""

    async def script(runner: FakeRunner) -> int:
        done = [(message.id, AckStatus.COMPLETED) for message in await runner.take()]
        outbound.write(runner.written, now=clock.now_text(), acknowledge=done)
        acknowledged.set()
        return await asyncio.Event().wait() or 0

    async def scenario() -> None:
        timing = Timing(store_retry_s=3_600, sandboxes_close_s=3_600)
        async with asyncio.timeout(WAIT_S), running_host(instance, runtime=runtime, timing=timing) as running:
            await running.channel.say("hi")
            await acknowledged.wait()
            running.host.components.db.pragma("query_only", 1)

    acknowledged, runtime = asyncio.Event(), ScriptedRuntime(script)
    asyncio.run(scenario())
