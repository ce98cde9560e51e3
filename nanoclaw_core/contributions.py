"""The contributions of a host's plugins, collected once, with settings and contexts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import apsw
from attrs import asdict, evolve, field, frozen
from nanoclaw_untrusted.migrations import require_separate_prefixes, table_prefix

from nanoclaw_core.descriptors.administration import Action, ApprovalHandler, Migration, Roster, Sweep, Verb
from nanoclaw_core.descriptors.channels import Channel
from nanoclaw_core.descriptors.context import PluginContext, nothing_runs
from nanoclaw_core.descriptors.providers import Provider
from nanoclaw_core.descriptors.resources import Resource
from nanoclaw_core.descriptors.runtimes import Runtime
from nanoclaw_core.descriptors.sandboxes import SandboxRequirements
from nanoclaw_core.descriptors.services import Service
from nanoclaw_core.dispatch import full_name
from nanoclaw_core.errors import MigrationError, PluginError, SettingsError
from nanoclaw_core.instance import InstancePaths
from nanoclaw_core.plugins import Contribution, Plugins
from nanoclaw_core.settings import Settings
from nanoclaw_core.store.migrations import migrate_plugin
from nanoclaw_core.store.schema import core_tables


@frozen(kw_only=True)
class Contributions:
    """The contributions of all plugins by name."""

    channels: Mapping[str, Contribution[Channel]]
    providers: Mapping[str, Contribution[Provider]]
    runtimes: Mapping[str, Contribution[Runtime]]
    services: Mapping[str, Contribution[Service]]
    sandbox_requirements: Mapping[str, Contribution[SandboxRequirements]]
    resources: Mapping[str, Contribution[Resource]]
    verbs: Mapping[str, Contribution[Verb]]
    actions: Mapping[str, Contribution[Action]]
    approval_handlers: Mapping[str, Contribution[ApprovalHandler]]
    rosters: Mapping[str, Contribution[Roster]]
    sweeps: Mapping[str, Contribution[Sweep]]
    plugin_settings: Mapping[str, Any] = field(factory=dict, repr=False)

    def for_sandboxes(self) -> Sequence[SandboxRequirements]:
        """Return the sandbox requirements of all plugins."""
        return tuple(contribution.value for contribution in self.sandbox_requirements.values())


def collect_contributions(plugins: Plugins) -> Contributions:
    """Call every collect hook.

    Raises:
        PluginError: Two plugins offer one name; the error names both distributions.
    """
    resources = plugins.collect("nanoclaw_resources", Resource)
    resource_values = [contribution.value for contribution in resources.values()]
    return Contributions(
        channels=plugins.collect("nanoclaw_channels", Channel),
        providers=plugins.collect("nanoclaw_providers", Provider),
        runtimes=plugins.collect("nanoclaw_runtimes", Runtime),
        services=plugins.collect("nanoclaw_services", Service),
        sandbox_requirements=plugins.collect("nanoclaw_sandbox_requirements", SandboxRequirements),
        resources=resources,
        verbs=plugins.collect("nanoclaw_verbs", Verb, key=full_name, resources=resource_values),
        actions=plugins.collect("nanoclaw_actions", Action),
        approval_handlers=plugins.collect("nanoclaw_approval_handlers", ApprovalHandler),
        rosters=plugins.collect("nanoclaw_rosters", Roster),
        sweeps=plugins.collect("nanoclaw_sweeps", Sweep),
    )


def load_contributions(
    plugins: Plugins, settings: Settings, environment: Mapping[str, str], *, with_installed: bool = True
) -> tuple[Contributions, Contributions]:
    """Load the installed plugins, and apply each plugin's settings.

    Returns:
        All contributions, and those of the plugins with valid settings. The others are recorded as failed.

    Raises:
        PluginError: Two plugins offer one name; the error names both distributions.
    """
    if with_installed:
        plugins.load_installed(frozenset(settings.core.disabled_plugins))
    offered = collect_contributions(plugins)
    structured: dict[str, Any] = {}
    failed: set[str] = set()
    for kind in (offered.channels, offered.providers, offered.runtimes, offered.services):
        for contribution in kind.values():
            plugin, shape = contribution.plugin, contribution.value.settings
            try:
                if (value := settings.for_plugin(plugin, shape, environment)) is not None:
                    structured[plugin] = value
            except SettingsError as error:
                plugins.record_failure(plugin, error)
                failed.add(plugin)
    return offered, _without(evolve(offered, plugin_settings=structured), failed)


def installed_sandbox_requirements(settings: Settings, environment: Mapping[str, str]) -> Sequence[SandboxRequirements]:
    """Return the requirements of the installed plugins for the sandbox image.

    Raises:
        PluginError: Two plugins offer one name; the error names both distributions.
    """
    return load_contributions(Plugins(), settings, environment)[1].for_sandboxes()


def migrate(contributions: Contributions, plugins: Plugins, db: apsw.Connection) -> Contributions:
    """Migrate every plugin's tables; record a plugin with a failed migration as failed and omit it.

    Raises:
        MigrationError: Two plugins' table prefixes, or a plugin's and the core's tables, overlap.
    """
    sets = plugins.collect_all("nanoclaw_migrations", Migration)
    ours = [name for name in core_tables(db) if not name.startswith(tuple(map(table_prefix, sets)))]
    require_separate_prefixes(sets, ours)
    failed: set[str] = set()
    for plugin, steps in sets.items():
        try:
            migrate_plugin(db, plugin, steps)
        except MigrationError as error:
            plugins.record_failure(plugin, error)
            failed.add(plugin)
    return _without(contributions, failed)


def gateway_of(contributions: Contributions) -> Contribution[Service] | None:
    """Return the service that is the model gateway, or None.

    Raises:
        PluginError: More than one service is a gateway.
    """
    gateways = [contribution for contribution in contributions.services.values() if contribution.value.is_gateway]
    if len(gateways) > 1:
        names = ", ".join(contribution.plugin for contribution in gateways)
        raise PluginError(f"services: at most one may be a model gateway, got {names}. Disable the others.")
    return gateways[0] if gateways else None


def contexts(
    contributions: Contributions,
    settings: Settings,
    environment: Mapping[str, str],
    database: apsw.Connection,
    running: Callable[[], Any] = nothing_runs,
) -> Callable[[str], PluginContext]:
    """Return a function that returns the context of a plugin by its name."""
    paths = InstancePaths(home=settings.home)
    return cache(
        lambda plugin: PluginContext(
            plugin=plugin,
            instance_id=paths.instance_id,
            home=paths.home,
            data_dir=paths.data / plugin,
            run_dir=paths.run,
            environment=environment,
            database=database,
            owners=frozenset(settings.core.owners),
            settings=contributions.plugin_settings.get(plugin),
            running=running,
        )
    )


def _without(contributions: Contributions, plugins: set[str]) -> Contributions:
    kinds = asdict(contributions, recurse=False)
    settings = kinds.pop("plugin_settings")
    kept = {kind: {name: item for name, item in kinds[kind].items() if item.plugin not in plugins} for kind in kinds}
    return Contributions(**kept, plugin_settings=settings)
