"""Finds what is installed under the entry-point group `nanoclaw.runner`, and keeps the broken away from the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

from attrs import field, frozen
from nanoclaw_wire.exhaustion import is_exhausted

from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin

log = logging.getLogger(__name__)

GROUP = "nanoclaw.runner"
FUNCTION = "nanoclaw_runner_plugin"


class NoProvider(Exception):
    """The wanted provider cannot be had; the message says which ones can."""


@frozen(kw_only=True)
class RunnerPlugins:
    """What was found.

    Args:
        loaded: In name order.
        failed: The names of plugins that could not be loaded, and why.
    """

    loaded: tuple[RunnerPlugin, ...] = ()
    failed: Mapping[str, str] = field(factory=dict)

    def offer(self, provider: str) -> ProviderOffer:
        """Return the provider of a name.

        Raises:
            NoProvider: None has that name, or two have.
        """
        offers = [(offer, part.name) for part in self.loaded for offer in part.providers]
        named = [(offer, plugin) for offer, plugin in offers if offer.name == provider]
        if len(named) > 1:
            plugins = " and ".join(repr(plugin) for _offer, plugin in named)
            raise NoProvider(f"the provider {provider!r} is offered by the plugins {plugins}; uninstall one of them")
        if named:
            return named[0][0]
        if provider in self.failed:
            raise NoProvider(f"the plugin of the provider {provider!r} is broken: {self.failed[provider]}")
        known = ", ".join(sorted(offer.name for offer, _plugin in offers)) or "none"
        raise NoProvider(f"there is no provider {provider!r} in this sandbox; there is: {known}")


def load_installed() -> RunnerPlugins:
    """Load every installed part; they are light by contract, an SDK is imported when its provider is made."""
    return load(metadata.entry_points(group=GROUP))


def load(entry_points: Iterable[metadata.EntryPoint]) -> RunnerPlugins:
    """Load parts in name order. A broken one is logged and left out.

    Raises:
        Exception: The machine is exhausted (see `is_exhausted`), which says nothing about the part.
    """
    loaded: list[RunnerPlugin] = []
    failed: dict[str, str] = {}
    for entry_point in sorted(entry_points, key=lambda found: found.name):
        try:
            loaded.append(_load(entry_point))
        except Exception as error:  # a plugin may raise anything at import; it must break only itself
            if is_exhausted(error):
                raise
            failed[entry_point.name] = f"{type(error).__name__}: {error}"
            log.exception("runner part not loaded", extra={"plugin": entry_point.name})
    return RunnerPlugins(loaded=tuple(loaded), failed=failed)


def _load(entry_point: metadata.EntryPoint) -> RunnerPlugin:
    make: Callable[[], object] = getattr(entry_point.load(), FUNCTION)
    part = make()
    if not isinstance(part, RunnerPlugin):
        raise TypeError(f"{entry_point.value}.{FUNCTION}() returned {part!r}, not a RunnerPlugin")
    return part
