"""Loads runner plugins from the entry-point group `nanoclaw.runner`, and isolates broken ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

from attrs import field, frozen
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.names import RUNNER_GROUP

from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin

log = logging.getLogger(__name__)

FUNCTION = "nanoclaw_runner_plugin"


class NoProvider(Exception):
    """The configured provider is not available; the message lists those that are."""


@frozen(kw_only=True)
class RunnerPlugins:
    """The installed runner plugins.

    Args:
        loaded: In name order.
        failed: Errors by the name of the plugin that could not be loaded.
    """

    loaded: tuple[RunnerPlugin, ...] = ()
    failed: Mapping[str, str] = field(factory=dict)

    def offer(self, provider: str) -> ProviderOffer:
        """Return the provider of a name.

        Raises:
            NoProvider: No provider has that name, or two have it.
        """
        offers = [(offer, plugin.name) for plugin in self.loaded for offer in plugin.providers]
        named = [(offer, plugin) for offer, plugin in offers if offer.name == provider]
        if len(named) > 1:
            plugins = " and ".join(repr(plugin) for _offer, plugin in named)
            raise NoProvider(f"provider {provider!r}: offered by the plugins {plugins}. Uninstall one of them.")
        if named:
            return named[0][0]
        if provider in self.failed:
            raise NoProvider(f"provider {provider!r}: its plugin is broken: {self.failed[provider]}")
        known = ", ".join(sorted(offer.name for offer, _plugin in offers)) or "none"
        raise NoProvider(f"provider {provider!r}: not installed in this sandbox. Installed: {known}.")


def load_installed() -> RunnerPlugins:
    """Load all installed plugins. They import nothing heavy: a provider imports its SDK when it connects."""
    return load(metadata.entry_points(group=RUNNER_GROUP))


def load(entry_points: Iterable[metadata.EntryPoint]) -> RunnerPlugins:
    """Load plugins in name order; log and skip a broken one.

    Raises:
        Exception: The machine is exhausted (see `is_exhausted`), which does not prove that the plugin is broken.
    """
    loaded: list[RunnerPlugin] = []
    failed: dict[str, str] = {}
    for entry_point in sorted(entry_points, key=lambda entry_point: entry_point.name):
        try:
            loaded.append(_load(entry_point))
        except Exception as error:  # a plugin may raise anything at import; it must break only itself
            if is_exhausted(error):
                raise
            failed[entry_point.name] = f"{type(error).__name__}: {error}"
            log.exception("runner plugin not loaded", extra={"plugin": entry_point.name})
    return RunnerPlugins(loaded=tuple(loaded), failed=failed)


def _load(entry_point: metadata.EntryPoint) -> RunnerPlugin:
    make: Callable[[], object] = getattr(entry_point.load(), FUNCTION)
    plugin = make()
    if not isinstance(plugin, RunnerPlugin):
        raise TypeError(f"{entry_point.value}.{FUNCTION}: must return a RunnerPlugin, got {plugin!r}")
    return plugin
