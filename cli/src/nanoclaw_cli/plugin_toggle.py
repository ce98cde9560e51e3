"""Enables and disables plugins by editing one list in nanoclaw.toml. All other text and comments stay."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import tomlkit
from nanoclaw_wire.atomic_files import write_atomically
from tomlkit.exceptions import TOMLKitError

from nanoclaw_core import Forbidden, SettingsError

KEY = "disabled_plugins"


def disabled_plugins(path: Path) -> list[str]:
    """Return the names of the plugins that a settings file disables.

    Raises:
        SettingsError: The file is invalid.
    """
    return _names(_core(_parsed(_read(path), path), path), KEY, path)


def toggle(path: Path, name: str, *, on: bool) -> bool:
    """Enable or disable a plugin. Return whether the file changed.

    Raises:
        Forbidden: The plugin to disable is in core.required_plugins.
        SettingsError: The file is invalid. It stays unchanged.
    """
    text = _read(path)
    document = _parsed(text, path)
    core = _core(document, path)
    disabled = _names(core, KEY, path)
    if not on and name in _names(core, "required_plugins", path):
        raise Forbidden(f"core.required_plugins: contains {name!r}. Remove it from that list in {path} first.")
    if on is (name not in disabled):
        return False
    wanted = [other for other in disabled if other != name] if on else [*disabled, name]
    if core is None:
        core = document["core"] = tomlkit.table()
    if KEY not in core:
        core[KEY] = []
    for _ in range(disabled.count(name)):
        core[KEY].remove(name)
    if not on:
        core[KEY].append(name)
    changed = tomlkit.dumps(document)
    _require_same_settings(text, changed, wanted, path)
    _replace_file(path, changed)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # text mode would change its line endings
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def _parsed(text: str, path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {error}. Fix the file first.") from error


def _core(document: tomlkit.TOMLDocument, path: Path) -> MutableMapping[str, Any] | None:
    core = document.get("core")
    if core is not None and not isinstance(core, MutableMapping):
        raise SettingsError(f"{path}: [core] must be a table, got {core!r:.80}. Fix the file first.")
    return core


def _names(core: MutableMapping[str, Any] | None, key: str, path: Path) -> list[str]:
    names = (core or {}).get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"{path}: core.{key} must be a list of strings, got {names!r:.80}. Fix the file first.")
    return [str(name) for name in names]


def _require_same_settings(before: str, after: str, wanted: list[str], path: Path) -> None:
    """Raise SettingsError unless an edit changed only the list, so that no edit loses settings."""
    expected = tomllib.loads(before)
    expected.setdefault("core", {})[KEY] = wanted
    try:
        actual = tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        actual = {}
    if actual != expected:
        raise SettingsError(f"{path} cannot be edited safely. Set core.{KEY} = {wanted} there yourself.")


def _replace_file(path: Path, text: str) -> None:
    """Replace a file atomically. It keeps its mode and owner, and a link stays a link."""
    target = path.resolve()
    before = target.stat()
    mode, owner = stat.S_IMODE(before.st_mode), (before.st_uid, before.st_gid)
    write_atomically(target, text.encode("utf-8"), mode=mode, sync=True, owner=owner)
