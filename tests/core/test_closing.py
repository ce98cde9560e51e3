"""Stopping a host whose runtime does not play along."""

import asyncio
import time

from nanoclaw_core import SandboxFailed, SandboxSpec
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import ScriptedRuntime, ScriptedSandbox


class Unstoppable(ScriptedSandbox):
    """A sandbox whose engine is gone."""

    async def stop(self, _grace_s: float) -> None:
        raise SandboxFailed("the engine does not answer")


class OneUnstoppable(ScriptedRuntime):
    """A runtime that cannot end its first sandbox."""

    async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
        if self.sandboxes:
            return await super().start(spec)
        self.specs.append(spec)
        self.sandboxes.append(Unstoppable(spec, self.script))
        return self.sandboxes[0]


def test_a_sandbox_that_cannot_be_ended_holds_up_neither_the_stop_nor_the_others(instance: Instance) -> None:
    instance.wire(room="other")

    async def scenario() -> tuple[float, list[str]]:
        async with running_host(instance, runtime=OneUnstoppable()) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            await running.channel.say("hello", room="other")
            await running.channel.texts(2)
            began = time.monotonic()
        took_s = time.monotonic() - began
        left, other = running.runtime.sandboxes
        await asyncio.wait_for(other.wait(), 1)
        await left.kill()
        async with running_host(instance) as again:
            await again.channel.say("still there?")
            return took_s, await again.channel.texts(1)

    took_s, texts = asyncio.run(scenario())
    assert took_s < 10
    assert texts == ["echo: still there?"]
