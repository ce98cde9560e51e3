"""Inputs of a sandbox: its mounts, environment, limits, runtime and provider."""

import asyncio

import pytest
from attrs import evolve
from instance_state import session_directory
from nanoclaw_wire import config

from nanoclaw_core import Host
from nanoclaw_core.store import agents
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import ScriptedRuntime


@pytest.mark.defect(number=32)
def test_provider_of_a_session_reaches_the_runner(instance: Instance) -> None:
    other = ScriptedRuntime(provider="other")

    class Providers:
        nanoclaw_providers = other.nanoclaw_providers

    async def scenario() -> list[str]:
        async with running_host(instance, others=Providers()) as running:
            providers = []
            for count in (1, 2):
                await running.channel.say("hi")
                await running.channel.texts(count)
                path = session_directory(instance) / "in" / "config.json"
                providers.append(config.read_config(path.read_text()).provider)
                (session,) = instance.sessions()
                instance.db.execute("UPDATE sessions SET provider = 'other' WHERE id = ?", (session.id,))
                await running.runtime.sandboxes[-1].kill()
            return providers

    assert asyncio.run(scenario()) == ["scripted", "other"]


@pytest.mark.invariant(number=6)
def test_sandbox_mounts_in_read_only_and_out_writable(
    instance: Instance,
) -> None:
    async def scenario() -> dict[str, bool]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            return {mount.target: mount.writable for mount in running.runtime.specs[0].mounts}

    assert asyncio.run(scenario()) == {"/workspace/in": False, "/workspace/out": True, "/workspace/agent": True}


def test_host_environment_does_not_reach_the_sandbox(instance: Instance) -> None:
    async def scenario() -> set[str]:
        channel, runtime = RecorderChannel(), ScriptedRuntime()
        own = {"recorder": channel, "scripted": runtime}
        environment = {"ANTHROPIC_API_KEY": "sk-secret"}
        async with Host(instance.settings, plugins=own, environment=environment, use_installed_plugins=False):
            await channel.say("hi")
            await channel.texts(1)
            return set(runtime.specs[0].environment)

    names = asyncio.run(scenario())
    assert all(name.startswith("NANOCLAW_") or name == "LANG" for name in names)


def test_limits_and_runtime_of_an_agent_are_applied(instance: Instance) -> None:
    group = instance.group()
    changed = evolve(agents.config_of(instance.db, group.id), limits={"memory_mb": 256}, runtime="scripted")
    agents.save_config(instance.db, changed)

    async def scenario() -> int:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            return running.runtime.specs[0].limits.memory_bytes

    assert asyncio.run(scenario()) == 256 * 1024 * 1024
