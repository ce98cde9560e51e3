"""Everything the plugins of one host offer, collected once at its start, with settings and context."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import apsw
from attrs import NOTHING, asdict, evolve, field, fields_dict, frozen, has

from nanoclaw_core.descriptors.administration import Action, ApprovalHandler, Migration, Roster, Sweep, Verb
from nanoclaw_core.descriptors.channels import Channel
from nanoclaw_core.descriptors.context import PluginContext, nothing_runs
from nanoclaw_core.descriptors.providers import Provider
from nanoclaw_core.descriptors.resources import Resource
from nanoclaw_core.descriptors.runtimes import Runtime
from nanoclaw_core.descriptors.sandboxes import SandboxPart
from nanoclaw_core.descriptors.services import Service
from nanoclaw_core.dispatch import full_name
from nanoclaw_core.errors import MigrationError, PluginError, SettingsError
from nanoclaw_core.instance import Places
from nanoclaw_core.plugins import NeedsSettings, Offer, Plugins
from nanoclaw_core.settings import Settings
from nanoclaw_core.store.migrations import migrate_plugin, refuse_nested_prefixes, table_prefix
from nanoclaw_core.store.schema import core_tables


@frozen(kw_only=True)
class Parts:
    """What there is to work with, by name."""

    channels: Mapping[str, Offer[Channel]]
    providers: Mapping[str, Offer[Provider]]
    runtimes: Mapping[str, Offer[Runtime]]
    services: Mapping[str, Offer[Service]]
    sandbox_parts: Mapping[str, Offer[SandboxPart]]
    resources: Mapping[str, Offer[Resource]]
    verbs: Mapping[str, Offer[Verb]]
    actions: Mapping[str, Offer[Action]]
    approval_handlers: Mapping[str, Offer[ApprovalHandler]]
    rosters: Mapping[str, Offer[Roster]]
    sweeps: Mapping[str, Offer[Sweep]]
    plugin_settings: Mapping[str, Any] = field(factory=dict, repr=False)

    def for_sandboxes(self) -> Sequence[SandboxPart]:
        """Return what all plugins want inside the sandbox."""
        return tuple(offer.item for offer in self.sandbox_parts.values())


def collect(plugins: Plugins) -> Parts:
    """Ask every collect hook.

    Raises:
        PluginError: Two plugins offer one name; the message names both distributions.
    """
    resources = plugins.collect("nanoclaw_resources", Resource)
    nouns = [offer.item for offer in resources.values()]
    return Parts(
        channels=plugins.collect("nanoclaw_channels", Channel),
        providers=plugins.collect("nanoclaw_providers", Provider),
        runtimes=plugins.collect("nanoclaw_runtimes", Runtime),
        services=plugins.collect("nanoclaw_services", Service),
        sandbox_parts=plugins.collect("nanoclaw_sandbox_parts", SandboxPart),
        resources=resources,
        verbs=plugins.collect("nanoclaw_verbs", Verb, key=full_name, resources=nouns),
        actions=plugins.collect("nanoclaw_actions", Action),
        approval_handlers=plugins.collect("nanoclaw_approval_handlers", ApprovalHandler),
        rosters=plugins.collect("nanoclaw_rosters", Roster),
        sweeps=plugins.collect("nanoclaw_sweeps", Sweep),
    )


def installed_sandbox_parts(settings: Settings, environment: Mapping[str, str]) -> Sequence[SandboxPart]:
    """Return what the installed plugins want inside the sandbox image, as a host with these settings would.

    Raises:
        PluginError: Two plugins offer one name; the message names both distributions.
    """
    plugins = Plugins()
    plugins.load_installed(frozenset(settings.core.disabled_plugins))
    return with_settings(collect(plugins), plugins, settings, environment).for_sandboxes()


def with_settings(parts: Parts, plugins: Plugins, settings: Settings, environment: Mapping[str, str]) -> Parts:
    """Give each plugin its settings; one whose settings are absent or do not fit is recorded with why and left out."""
    structured: dict[str, Any] = {}
    failed: set[str] = set()
    for offers in (parts.channels, parts.providers, parts.runtimes, parts.services):
        for offer in offers.values():
            shape: type | None = offer.item.settings
            try:
                _refuse_absence(shape, offer.plugin, settings.plugins.get(offer.plugin, {}))
                found = settings.for_plugin(offer.plugin, shape, environment)
            except SettingsError as error:
                plugins.record_failure(offer.plugin, error)
                failed.add(offer.plugin)
                continue
            if found is not None:
                structured[offer.plugin] = found
    return _without(evolve(parts, plugin_settings=structured), failed)


def tables_of_nobody(settings: Settings, plugins: Sequence[str]) -> Mapping[str, str]:
    """Return the [plugins.<name>] tables that are for no plugin here, each with what to do about it."""
    found = {}
    for table in settings.plugins:
        if table not in plugins:
            near = difflib.get_close_matches(table, plugins, n=1)
            found[table] = f"Did you mean [plugins.{near[0]}]?" if near else "Install the plugin, or remove the table."
    return found


def migrate(parts: Parts, plugins: Plugins, db: apsw.Connection) -> Parts:
    """Bring every plugin's tables up to date; one that fails is recorded, and its parts are left out.

    Raises:
        MigrationError: Two plugins' table prefixes, or a plugin's and the core's tables, overlap.
    """
    sets = plugins.collect_all("nanoclaw_migrations", Migration)
    ours = [name for name in core_tables(db) if not name.startswith(tuple(map(table_prefix, sets)))]
    refuse_nested_prefixes(sets, ours)
    failed: set[str] = set()
    for plugin, steps in sets.items():
        try:
            migrate_plugin(db, plugin, steps)
        except MigrationError as error:
            plugins.record_failure(plugin, error)
            failed.add(plugin)
    return _without(parts, failed)


def gateway_of(parts: Parts) -> Offer[Service] | None:
    """Return the service that is the model gateway, or None.

    Raises:
        PluginError: There are two.
    """
    found = [offer for offer in parts.services.values() if offer.item.is_gateway]
    if len(found) > 1:
        names = " and ".join(offer.plugin for offer in found)
        raise PluginError(f"there can be one model gateway, and {names} both want to be it; disable one")
    return found[0] if found else None


def contexts(
    parts: Parts,
    *,
    places: Places,
    settings: Settings,
    environment: Mapping[str, str],
    database: apsw.Connection,
    running: Callable[[], Any] = nothing_runs,
) -> Callable[[str], PluginContext]:
    """Return what gives a plugin, by its name, its place in the host."""
    return cache(
        lambda plugin: PluginContext(
            plugin=plugin,
            instance_id=places.instance_id,
            home=places.home,
            data_dir=places.data / plugin,
            run_dir=places.run,
            environment=environment,
            database=database,
            owners=frozenset(settings.core.owners),
            settings=parts.plugin_settings.get(plugin),
            running=running,
        )
    )


def _refuse_absence(shape: type | None, plugin: str, table: Mapping[str, Any]) -> None:
    known = fields_dict(shape) if shape is not None and has(shape) else {}
    absent = [name for name, one in known.items() if one.default is NOTHING and name not in table]
    if absent and table.keys() <= known.keys():  # of a key that is misspelt, the misspelling is what to say
        raise NeedsSettings(f"set [plugins.{plugin}] {', '.join(absent)}")


def _without(parts: Parts, plugins: set[str]) -> Parts:
    if not plugins:
        return parts
    kept: dict[str, Any] = {
        kind: {name: offer for name, offer in offers.items() if offer.plugin not in plugins}
        for kind, offers in asdict(parts, recurse=False).items()
        if kind != "plugin_settings"
    }
    return evolve(parts, **kept)
