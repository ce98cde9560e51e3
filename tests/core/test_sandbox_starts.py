"""Start of sandboxes: limited in number, and only after the sandboxes of an earlier host are removed."""

import asyncio
from pathlib import Path

from attrs import evolve

from nanoclaw_core import Readiness
from nanoclaw_core.store import agents
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


def test_max_sandboxes_limits_concurrent_sandboxes(tmp_path: Path) -> None:
    """The next sandbox starts when a running one ends."""
    instance = make_instance(tmp_path / "home", max_sandboxes=2)
    rooms = [f"room {number}" for number in range(3)]
    for room in rooms:
        instance.wire(room=room)
    release: list[asyncio.Event] = []

    async def waits(runner: FakeRunner) -> int:
        may_exit = asyncio.Event()
        release.append(may_exit)
        await may_exit.wait()
        runner.answer(await runner.take(), "done")
        return 0

    async def scenario() -> list[int]:
        counts = []
        async with running_host(instance, runtime=ScriptedRuntime(waits)) as running:
            for room in rooms:
                await running.channel.say("hi", room=room)
            await until(lambda: len(release) >= 2)
            for _ in range(20):  # much more time than a third sandbox needs to start
                await running.channel.say("more", room=rooms[0])
            counts.append(len(release))
            release[0].set()
            await until(lambda: len(release) == 3)
            counts.append(len(release))
            for event in release:
                event.set()
            await running.channel.texts(3)
        return counts

    assert asyncio.run(scenario()) == [2, 3]
    instance.db.close()


def test_sandbox_starts_after_leftovers_are_removed(instance: Instance) -> None:
    class Leftovers(ScriptedRuntime):
        is_reaping, may_end, started_while_reaping = False, asyncio.Event(), 0

        async def reap(self) -> int:
            self.is_reaping = True
            await self.may_end.wait()
            self.started_while_reaping = len(self.specs)
            return 1

    async def scenario() -> int:
        runtime = Leftovers()
        async with running_host(instance, runtime=runtime) as running:
            await until(lambda: runtime.is_reaping)
            await running.channel.say("hi")
            runtime.may_end.set()
            await running.channel.texts(1)
            return runtime.started_while_reaping

    assert asyncio.run(scenario()) == 0


def test_mistyped_provider_is_refused_and_not_replaced(tmp_path: Path) -> None:
    """The fallback is only for a provider that the operator did not choose."""
    instance = make_instance(tmp_path / "home", provider="scriptd", fallback_provider="scripted")
    instance.wire()

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    (text,) = asyncio.run(scenario())
    assert "The provider 'scriptd' is not installed" in text or "cannot be started" in text


def test_server_needs_a_runtime_that_isolates(tmp_path: Path) -> None:
    """An MCP server is a program, so the runtime is chosen as for a provider with tools."""
    instance = make_instance(tmp_path / "home")
    instance.wire()
    config = agents.config_of(instance.db, instance.group().id)
    agents.save_config(instance.db, evolve(config, mcp_servers={"maps": {"command": "maps"}}))
    unconfined = Readiness(ready=True, isolates=False, detail="no walls")

    async def scenario() -> tuple[list[str], int]:
        runtime = ScriptedRuntime(readiness=unconfined)
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1), len(runtime.specs)

    (text,), started = asyncio.run(scenario())
    assert started == 0
    assert "sandbox" in text or "cannot be started" in text
