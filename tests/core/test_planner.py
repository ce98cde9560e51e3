"""Sandbox plans in a running host.

The container config of an agent group decides about its sandboxes.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from nanoclaw_untrusted.directories import boot_id, identity_of
from nanoclaw_wire import layout
from nanoclaw_wire.config import McpServer, RunnerConfig, read_config

from nanoclaw_core import Provider, SandboxSpec, hookimpl
from nanoclaw_core.descriptors.sandboxes import Mount, Network
from nanoclaw_core.settings import AllowedMount
from nanoclaw_core.store import agents
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import ScriptedRuntime


def sandbox_of(instance: Instance, **choices: Any) -> tuple[SandboxSpec, RunnerConfig]:
    """Write to an agent with these config values.

    Return the spec and the runner config of its sandbox.
    """
    group = instance.group()
    agents.save_config(instance.db, evolve(agents.config_of(instance.db, group.id), **choices))

    async def scenario() -> SandboxSpec:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            return running.runtime.specs[0]

    spec = asyncio.run(scenario())
    incoming = next(mount.source for mount in spec.mounts if mount.target == layout.SANDBOX_IN)
    return spec, read_config((incoming / layout.CONFIG).read_text())


def test_model_choices_reach_the_runner(instance: Instance) -> None:
    servers = {"maps": {"command": "maps", "args": ["-v"], "env": {"A": "1"}, "instructions": "Ask maps."}}
    _, config = sandbox_of(
        instance,
        model="a-model",
        effort="high",
        assistant_name="Sam",
        max_messages_per_prompt=3,
        skills=["cooking"],
        mcp_servers=servers,
        cli_scope="disabled",
    )
    assert (config.model, config.effort, config.assistant_name) == ("a-model", "high", "Sam")
    assert (config.max_messages_per_prompt, config.skills, config.cli_scope) == (3, ["cooking"], "disabled")
    assert config.mcp_servers == {
        "maps": McpServer(command="maps", args=["-v"], env={"A": "1"}, instructions="Ask maps.")
    }


def test_empty_config_uses_settings_and_provider(instance: Instance) -> None:
    spec, config = sandbox_of(instance)
    assert (config.model, config.effort, config.assistant_name) == (None, None, "Agent")
    assert (config.max_messages_per_prompt, config.skills, config.idle_stop_s) == (10, None, 1800.0)
    assert (spec.network, spec.image, spec.limits.pids) == (Network.GATEWAY, None, 1024)


def test_turn_pauses_of_the_settings_reach_the_runner(tmp_path: Path) -> None:
    instance = make_instance(tmp_path / "home", turn_pauses_s=[0.5])
    instance.wire()
    assert sandbox_of(instance)[1].turn_pauses_s == [0.5]


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged reasons of refused sandboxes."""
    return [vars(record)["reason"] for record in caplog.records if record.message == "sandbox refused"]


def test_provider_with_invalid_settings_is_refused(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    @frozen(kw_only=True)
    class Settings:
        tempo: int = 1

    class Picky:
        @hookimpl
        def nanoclaw_providers(self) -> list[Provider]:
            return [Provider(name="picky", runs_tools=False, settings=Settings)]

    instance.configure("picky", temp=2)
    group = instance.group()
    agents.save_config(instance.db, evolve(agents.config_of(instance.db, group.id), provider="picky"))

    async def scenario() -> list[str]:
        async with running_host(instance, picky=Picky()) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    asyncio.run(scenario())
    (refusal,) = reasons(caplog)
    assert "The provider 'picky' cannot be used: it does not work: plugins.picky.temp: unknown key" in refusal
    assert "not installed" not in refusal


def test_sandbox_choices_reach_the_runtime(instance: Instance) -> None:
    limits = {"memory_mb": 512, "cpus": 0.5, "pids": 64}
    spec, _ = sandbox_of(instance, network="none", image_tag="mine:1", limits=limits)
    assert (spec.network, spec.image) == (Network.NONE, "mine:1")
    assert (spec.limits.memory_bytes, spec.limits.cpus, spec.limits.pids) == (512 * 2**20, 0.5, 64)


def test_config_with_an_mcp_server_runs_tools(instance: Instance) -> None:
    spec, _ = sandbox_of(instance, mcp_servers={"maps": {"command": "maps"}})
    assert spec.runs_tools


@pytest.mark.invariant(number=6)
@pytest.mark.parametrize("shown", [".", "run", ".."])
def test_sandbox_that_would_see_the_instance_is_refused(
    instance: Instance, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A runtime must not show the control socket; the log has the reason (audit C4)."""
    runtime = ScriptedRuntime(shown=[instance.settings.home / shown])

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    asyncio.run(scenario())
    (refusal,) = reasons(caplog)
    assert "the instance directory" in refusal
    assert runtime.specs == []


def test_spec_has_only_allowed_mounts(tmp_path: Path) -> None:
    for name in ("allowed/notes", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    instance = make_instance(tmp_path / "home", allowed_mounts=[AllowedMount(path=str(tmp_path / "allowed"))])
    instance.wire()
    wanted = [{"path": str(tmp_path / "allowed" / "notes"), "writable": True}, {"path": str(tmp_path / "elsewhere")}]
    spec, _ = sandbox_of(instance, additional_mounts=wanted)
    extra = [mount for mount in spec.mounts if mount.target.startswith(layout.SANDBOX_EXTRA)]
    notes = tmp_path / "allowed" / "notes"
    identity = identity_of(notes.stat(), boot_id())
    assert extra == [Mount(source=notes, target=f"{layout.SANDBOX_EXTRA}/notes", identity=identity)]
    instance.db.close()
