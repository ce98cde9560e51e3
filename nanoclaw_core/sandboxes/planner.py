"""Plans a session's sandbox: provider, runtime, mounts, environment and the runner's config."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw
import cattrs
from attrs import frozen
from nanoclaw_wire import clock, layout
from nanoclaw_wire.atomic_files import write_atomically
from nanoclaw_wire.config import McpServer, RunnerConfig, write_config
from nanoclaw_wire.layout import Layout

from nanoclaw_core.descriptors.providers import Provider, Upstream
from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.sandboxes import Limits, Mount, Network, Readiness, SandboxSpec
from nanoclaw_core.errors import PLUGIN_ERRORS, SandboxRefused
from nanoclaw_core.ids import new_id
from nanoclaw_core.plugins import Contribution, Plugins
from nanoclaw_core.sandboxes.mounts import MountRefused, mount_policy, require_unexposed
from nanoclaw_core.sandboxes.selection import Candidate, choose_provider, choose_runtime, missing_reason
from nanoclaw_core.settings import DEFAULT_PROVIDER, Settings
from nanoclaw_core.store import agents
from nanoclaw_core.store.agents import AgentGroup, ContainerConfig
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)
OWN_TARGETS = frozenset({layout.SANDBOX_IN, layout.SANDBOX_OUT, layout.SANDBOX_AGENT})


@frozen(kw_only=True)
class SandboxPlan:
    """The complete description of a sandbox to start."""

    spec: SandboxSpec
    runtime: str
    adapter: RuntimeAdapter
    provider: str
    upstreams: Sequence[Upstream]
    config: RunnerConfig


@frozen(kw_only=True)
class SandboxPlanner:
    """Makes plans for sandboxes.

    Args:
        runtimes: The running adapters by name.
        preferences: The preference of each runtime, which decides if none is configured.
        plugin_settings: The structured settings by plugin.
        plugins: Names the plugins that do not work, with the reasons.
    """

    db: apsw.Connection
    settings: Settings
    environment: Mapping[str, str]
    providers: Mapping[str, Contribution[Provider]]
    runtimes: Mapping[str, RuntimeAdapter]
    preferences: Mapping[str, int]
    plugin_settings: Mapping[str, object]
    plugins: Plugins
    has_gateway: bool
    timing: Timing

    async def plan(self, session: Session, files: Layout) -> SandboxPlan:
        """Plan a session's next sandbox; write nothing.

        Raises:
            SandboxRefused: No sandbox can be made in the current state; the error names the remedy.
        """
        group = agents.get(self.db, session.agent_group_id)
        if group is None:
            raise SandboxRefused(
                f"The agent group {session.agent_group_id} of this conversation no longer exists.",
                for_people="The agent of this conversation no longer exists.",
            )
        config = agents.config_of(self.db, group.id)
        provider, upstreams = self._provider(session, config)
        runtime = await self._runtime(config, provider)
        network = Network(config.network or self.settings.core.network)
        self._require_gateway(provider, upstreams, network)
        spec = self._spec(session, group, config, provider, network, files)
        await self._require_unexposed(spec, self.runtimes[runtime])
        return SandboxPlan(
            spec=spec,
            runtime=runtime,
            adapter=self.runtimes[runtime],
            provider=provider.name,
            upstreams=upstreams if network is not Network.NONE else (),
            config=self._runner_config(session, group, config, provider, upstreams),
        )

    def upstreams_of(self, name: str, contribution: Contribution[Provider]) -> tuple[Sequence[Upstream], str]:
        """Return the upstreams of a provider, and why it cannot be used (empty if it can)."""
        try:
            settings = self.plugin_settings.get(contribution.plugin)
            upstreams = tuple(contribution.value.upstreams(settings, self.environment))
            return upstreams, missing_reason(upstreams)
        except PLUGIN_ERRORS as error:  # error boundary: other providers must stay usable
            reason = f"its plugin failed: {type(error).__name__}: {error}"
            log.warning("provider check failed", extra={"provider": name, "reason": reason})
            return (), reason

    def _provider(self, session: Session, config: ContainerConfig) -> tuple[Provider, Sequence[Upstream]]:
        upstreams = {name: self.upstreams_of(name, contribution) for name, contribution in self.providers.items()}
        missing = {name: why for name, (_, why) in upstreams.items() if why}
        failures = self.plugins.failures()
        missing |= {name: f"it does not work: {why}" for name, why in failures.items() if name not in upstreams}
        chosen = choose_provider(
            session=session.provider,
            group=config.provider,
            default=self.settings.core.provider,
            # A provider that the operator chose is never replaced, so that a typing error is seen.
            fallback=self.settings.core.fallback_provider if self.settings.core.provider == DEFAULT_PROVIDER else "",
            installed={name: contribution.value for name, contribution in self.providers.items()},
            missing=missing,
        )
        if chosen.instead_of:
            extra = {"provider": chosen.name, "instead_of": chosen.instead_of}
            log.info(
                "fallback provider in use", extra=extra | {"reason": missing.get(chosen.instead_of, "not installed")}
            )
        if chosen.name in missing:
            raise SandboxRefused(f"The provider {chosen.name!r} cannot be used: {missing[chosen.name]}")
        return self.providers[chosen.name].value, upstreams[chosen.name][0]

    async def _runtime(self, config: ContainerConfig, provider: Provider) -> str:
        candidates = await asyncio.gather(*map(self._candidate, sorted(self.runtimes)))
        wanted = config.runtime or self.settings.core.runtime
        return choose_runtime(wanted=wanted, runs_tools=_runs_tools(provider, config), candidates=candidates)

    def _require_gateway(self, provider: Provider, upstreams: Sequence[Upstream], network: Network) -> None:
        if upstreams and network is not Network.NONE and not self.has_gateway:
            remedy = "Install it with `pip install nanoclaw-resource-gateway`. `ncl doctor` shows more."
            if "gateway" in self.settings.core.disabled_plugins:
                remedy = 'Remove "gateway" from disabled_plugins in nanoclaw.toml and restart the host.'
            name = provider.name
            raise SandboxRefused(f"The provider {name!r} needs the model gateway, and no gateway is running. {remedy}")

    def _spec(
        self,
        session: Session,
        group: AgentGroup,
        config: ContainerConfig,
        provider: Provider,
        network: Network,
        files: Layout,
    ) -> SandboxSpec:
        folder = self.settings.home / "groups" / group.folder
        folder.mkdir(parents=True, exist_ok=True)
        mounts = [
            Mount(source=files.incoming, target=layout.SANDBOX_IN),
            Mount(source=files.outgoing, target=layout.SANDBOX_OUT, writable=True),
            Mount(source=folder, target=layout.SANDBOX_AGENT, writable=True),
            *self._extra_mounts(config),
        ]
        return SandboxSpec(
            session_id=session.id,
            name=f"nanoclaw-{group.folder[:30]}-{new_id('run')}",
            arguments=("-m", "nanoclaw_runner"),
            mounts=mounts,
            environment={
                layout.IN_DIR_VARIABLE: layout.SANDBOX_IN,
                layout.OUT_DIR_VARIABLE: layout.SANDBOX_OUT,
                layout.AGENT_DIR_VARIABLE: layout.SANDBOX_AGENT,
                layout.EXTRA_DIR_VARIABLE: layout.SANDBOX_EXTRA,
                "LANG": "C.UTF-8",
            },
            runs_tools=_runs_tools(provider, config),
            network=network,
            limits=self._limits(config),
            image=config.image_tag,
        )

    async def _candidate(self, name: str) -> Candidate:
        """Check a runtime; if the check fails, the runtime is not ready, and others stay usable."""
        try:
            async with asyncio.timeout(self.timing.runtime_check_s):
                readiness = await self.runtimes[name].check()
            if not isinstance(readiness, Readiness):
                raise TypeError(f"`check` must return a Readiness, got {readiness!r}")
        except PLUGIN_ERRORS as error:  # error boundary: a runtime is a plugin's code
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            log.warning("runtime check failed", extra={"runtime": name, "reason": reason})
            readiness = Readiness(ready=False, isolates=False, detail=f"its check failed ({reason})")
        return Candidate(name=name, preference=self.preferences[name], readiness=readiness)

    async def _require_unexposed(self, spec: SandboxSpec, adapter: RuntimeAdapter) -> None:
        """Check that the sandbox sees only its own directories of the instance (mounts.py)."""
        own = [mount.source for mount in spec.mounts if mount.target in OWN_TARGETS]
        async with asyncio.timeout(self.timing.runtime_check_s):
            visible = [*(mount.source for mount in spec.mounts), *await adapter.shown_directories()]
        require_unexposed(visible, own, self.settings.home)

    def _extra_mounts(self, config: ContainerConfig) -> list[Mount]:
        mounts: dict[str, Mount] = {}
        policy = mount_policy(self.db, self.settings)
        for raw in config.additional_mounts:
            try:
                mount = policy.check(raw)
                if mount.target in mounts:
                    raise MountRefused(f"name: two mounts have the target {mount.target}. Give one another name.")
                mounts[mount.target] = mount
            except MountRefused as error:
                log.warning("mount refused", extra={"group": config.agent_group_id, "reason": str(error)})
        return list(mounts.values())

    def _limits(self, config: ContainerConfig) -> Limits:
        core = self.settings.core
        return Limits(
            memory_bytes=int(config.limits.get("memory_mb", core.memory_mb)) * 1024 * 1024,
            cpus=float(config.limits.get("cpus", core.cpus)),
            pids=int(config.limits.get("pids", core.pids)),
        )

    def _runner_config(
        self,
        session: Session,
        group: AgentGroup,
        config: ContainerConfig,
        provider: Provider,
        upstreams: Sequence[Upstream],
    ) -> RunnerConfig:
        contribution = self.providers[provider.name]
        options = provider.options(self.plugin_settings.get(contribution.plugin), self.environment)
        return RunnerConfig(
            session_id=session.id,
            agent_group_id=group.id,
            group_name=group.name,
            provider=provider.name,
            provider_options=dict(options),
            assistant_name=config.assistant_name or group.name,
            model=config.model,
            effort=config.effort,
            max_messages_per_prompt=config.max_messages_per_prompt or 10,
            timezone=self.settings.core.timezone or clock.machine_zone(self.environment),
            turn_pauses_s=self.settings.core.turn_pauses_s,
            cli_scope=config.cli_scope,
            skills=None if isinstance(config.skills, str) else list(config.skills),
            mcp_servers={name: cattrs.structure(raw, McpServer) for name, raw in config.mcp_servers.items()},
            gateway_port=0 if upstreams else None,
            idle_stop_s=self.settings.core.idle_stop_s,
        )


def write_runner_config(path: Path, config: RunnerConfig) -> None:
    """Write the runner's config file, readable for the sandbox's user."""
    write_atomically(path, write_config(config).encode(), mode=0o644, sync=False)


def _runs_tools(provider: Provider, config: ContainerConfig) -> bool:
    return provider.runs_tools or bool(config.mcp_servers)  # a server is a program
