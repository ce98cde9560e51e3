"""Turning a plugin off and on: one list in nanoclaw.toml changes, and all else of the file stays, comments too."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import tomllib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from nanoclaw_core import Forbidden, SettingsError

KEY = "disabled_plugins"


def disabled_in(path: Path) -> list[str]:
    """Return the names that a settings file disables.

    Raises:
        SettingsError: The file is not what it should be.
    """
    return _names(_core(_parsed(_read(path), path), path), KEY, path)


def toggle(path: Path, name: str, *, on: bool) -> bool:
    """Put a plugin on or off; return whether that changed anything.

    Raises:
        Forbidden: The instance requires the plugin that is to be off.
        SettingsError: The file is not what it should be. It was not changed.
    """
    text = _read(path)
    document = _parsed(text, path)
    core = _core(document, path)
    disabled = _names(core, KEY, path)
    if not on and name in _names(core, "required_plugins", path):
        raise Forbidden(f"the plugin {name!r} is in core.required_plugins of {path}; take it out of there first")
    if on is (name not in disabled):
        return False
    wanted = [one for one in disabled if one != name] if on else [*disabled, name]
    if core is None:
        core = document["core"] = tomlkit.table()
    if KEY not in core:
        core[KEY] = []
    for _ in range(disabled.count(name)):
        core[KEY].remove(name)
    if not on:
        core[KEY].append(name)
    changed = tomlkit.dumps(document)
    _insist(text, changed, wanted, path)
    _replace(path, changed)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # as it is: reading it as text would change its line ends
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error


def _parsed(text: str, path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {error}. Mend the file first.") from error


def _core(document: tomlkit.TOMLDocument, path: Path) -> MutableMapping[str, Any] | None:
    core = document.get("core")
    if core is not None and not isinstance(core, MutableMapping):
        raise SettingsError(f"{path}: [core] must be a table; mend the file first")
    return core


def _names(core: MutableMapping[str, Any] | None, key: str, path: Path) -> list[str]:
    names = (core or {}).get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"{path} [core]: {key} must be a list of texts; mend the file first")
    return [str(name) for name in names]


def _insist(before: str, after: str, wanted: list[str], path: Path) -> None:
    """Insist that a text says the same as before, but for the list: nobody's settings are lost to a clever edit."""
    meant = tomllib.loads(before)
    meant.setdefault("core", {})[KEY] = wanted
    try:
        found = tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        found = {}
    if found != meant:
        raise SettingsError(
            f"{path} is written in a way that cannot be changed safely; set core.{KEY} = {wanted} there"
        )


def _replace(path: Path, text: str) -> None:
    """Write a file all at once, beside it first, with its mode and its owner; a link stays a link."""
    target = path.resolve()
    before = target.stat()
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as file:
            with contextlib.suppress(PermissionError):  # only root gives files away, and nobody else has to
                os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, target)  # noqa: PTH105
    except BaseException:
        os.unlink(temporary)  # noqa: PTH108
        raise
