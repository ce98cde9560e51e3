"""Which plugins are installed, by their metadata alone; nothing of them is imported, so they may all be broken.

Finding them is the core's, beneath its public surface. Whether they work, only a host knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoclaw_client.suggestions import nearest

from nanoclaw_core import NotFound, SettingsError, load_settings
from nanoclaw_core.plugins import Found, find_installed
from nanoclaw_core.settings import FILE_NAME

HALVES = {"host": "nanoclaw", "runner": "nanoclaw.runner"}
COMMANDS = "nanoclaw.commands"


def installed_names() -> list[str]:
    """Return the names of the installed plugins, in order."""
    return list(dict.fromkeys(found.name for found in find_installed()))


def settings_file(home: Path) -> Path:
    """Return where an instance's settings are."""
    return home / FILE_NAME


def facts(name: str, home: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what metadata and nanoclaw.toml say of one plugin, as a JSON object.

    Raises:
        NotFound: No plugin of that name is installed; the message names the nearest one.
    """
    named = [found for found in find_installed() if found.name == name]
    if not named:
        raise NotFound(unknown(name, installed_names()))
    return {**_installed(named), **_settings(name, home, environment)}


def unknown(name: str, known: list[str]) -> str:
    """Say that there is no plugin of a name."""
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
    return f"no plugin {name!r} is installed; {hint}"


def _installed(named: list[Found]) -> dict[str, Any]:
    found, *others = named
    distribution = found.entry_point.dist
    points = list(distribution.entry_points) if distribution else [found.entry_point]
    name, _, version = found.source.rpartition(" ")
    halves = {
        half: next((point.value for point in points if (point.group, point.name) == (group, found.name)), None)
        for half, group in HALVES.items()
    }
    return {
        "name": found.name,
        "distribution": name,
        "version": version,
        "summary": distribution.metadata["Summary"] if distribution else None,
        **halves,
        "commands": [point.name for point in points if point.group == COMMANDS],
        "requires": (distribution.requires if distribution else None) or [],
        "also_in": [other.source for other in others],
    }


def _settings(name: str, home: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what nanoclaw.toml says of a plugin; null is unknown, because the file cannot be read."""
    where = {"settings": f"[plugins.{name}] in {settings_file(home)}"}
    try:
        settings = load_settings(home, environment)
    except SettingsError as error:
        return {**where, "is_set": None, "is_disabled": None, "is_required": None, "settings_trouble": str(error)}
    return {
        **where,
        "is_set": name in settings.plugins,
        "is_disabled": name in settings.core.disabled_plugins,
        "is_required": name in settings.core.required_plugins,
    }
