"""Plugins for the tests of plugin loading and of hooks."""

from collections.abc import Iterable

from nanoclaw_core import (
    Channel,
    PluginContext,
    hookimpl,
)
from nanoclaw_core.plugins import PluginReport, Plugins


def channel(name: str) -> Channel:
    def connect(_settings: object, _context: PluginContext) -> object:
        raise AssertionError("no test connects it")

    return Channel(name=name, connect=connect)  # type: ignore[arg-type]


class Offering:
    """A plugin that contributes channels."""

    def __init__(self, *names: str) -> None:
        self._names = names

    @hookimpl
    def nanoclaw_channels(self) -> Iterable[Channel]:
        return [channel(name) for name in self._names]


def with_plugins(**objects: object) -> Plugins:
    plugins = Plugins()
    for name, plugin in objects.items():
        plugins.add(plugin, name=name)
    return plugins


def report(plugins: Plugins, name: str) -> PluginReport:
    return next(entry for entry in plugins.reports() if entry.name == name)
