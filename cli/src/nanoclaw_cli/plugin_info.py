"""Describes installed plugins by their metadata. It imports none of them, so they may all be broken.

Only a host knows whether they work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoclaw_wire.names import RUNNER_GROUP, SETTINGS_FILE
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_core import InstalledPlugin, NotFound, SettingsError, find_installed_plugins, load_settings

HALVES = {"host": "nanoclaw", "runner": RUNNER_GROUP}
COMMANDS = "nanoclaw.commands"


def installed_names() -> list[str]:
    """Return the names of the installed plugins in order."""
    return list(dict.fromkeys(plugin.name for plugin in find_installed_plugins()))


def settings_file(home: Path) -> Path:
    """Return the path of an instance's settings file."""
    return home / SETTINGS_FILE


def describe_plugin(name: str, home: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return a plugin's metadata and its settings in nanoclaw.toml, as a JSON object.

    Raises:
        NotFound: No plugin of that name is installed. The message suggests the most similar name.
    """
    named = [plugin for plugin in find_installed_plugins() if plugin.name == name]
    if not named:
        raise NotFound(unknown_plugin(name, installed_names()))
    return {**_metadata(named), **_settings(name, home, environment)}


def unknown_plugin(name: str, known: list[str]) -> str:
    """Return the error message for a name that no installed plugin has."""
    hint = did_you_mean(name, known, f"Installed: {', '.join(known) or 'none'}.")
    return f"no plugin {name!r} is installed. {hint}"


def _metadata(named: list[InstalledPlugin]) -> dict[str, Any]:
    plugin, *others = named
    distribution = plugin.entry_point.dist
    points = list(distribution.entry_points) if distribution else [plugin.entry_point]
    name, _, version = plugin.source.rpartition(" ")
    halves = {
        half: next((point.value for point in points if (point.group, point.name) == (group, plugin.name)), None)
        for half, group in HALVES.items()
    }
    return {
        "name": plugin.name,
        "distribution": name,
        "version": version,
        "summary": distribution.metadata["Summary"] if distribution else None,
        **halves,
        "commands": [point.name for point in points if point.group == COMMANDS],
        "requires": (distribution.requires if distribution else None) or [],
        "also_in": [other.source for other in others],
    }


def _settings(name: str, home: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return a plugin's settings in nanoclaw.toml. Flags are None if the file cannot be read."""
    location = {"settings": f"[plugins.{name}] in {settings_file(home)}"}
    try:
        settings = load_settings(home, environment)
    except SettingsError as error:
        return {**location, "is_set": None, "is_disabled": None, "is_required": None, "error": str(error)}
    return {
        **location,
        "is_set": name in settings.plugins,
        "is_disabled": name in settings.core.disabled_plugins,
        "is_required": name in settings.core.required_plugins,
    }
