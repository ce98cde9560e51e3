"""Reads the tables of a TOML file into attrs classes.

An unknown key is an error that suggests the nearest known key. A string may be `env:NAME` or `file:PATH` (relative to
the directory of the file), so that secrets stay out of the file.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
from attrs import frozen
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_settings.errors import InvalidSetting, NeedsSettings, SettingsError, quote
from nanoclaw_settings.rules import BrokenRule, Secret
from nanoclaw_settings.values import KIND_WORDS, as_number

MAX_DEPTH = 20  # of tables and lists; the core's settings need 4
MAX_FILE_BYTES, MAX_VALUE_BYTES = 1_048_576, 65_536  # of the file, and of one that `file:PATH` names
MAX_FAULT_CHARACTERS = 1_000  # a key of the file and the text of a plugin's rule may be long


class _Fault(SettingsError):
    """A value is invalid. The message begins with its key."""


class _WrongKind(BrokenRule):
    """A value has another type. The reader itself raises it, so its text never has a secret."""


@frozen(kw_only=True)
class Reader:
    """Reads a file, and structures its tables value by value, so that each error has its key.

    Args:
        file: The TOML file.
        environment: The variables for `env:NAME`.
        incomplete: The key of a table that may lack required keys; the error is then a NeedsSettings.
    """

    file: Path
    environment: Mapping[str, str]
    incomplete: str | None = None

    def load(self, *tables: str) -> dict[str, Any]:
        """Return the raw content of the file, which may only have these tables.

        Raises:
            FileNotFoundError: The file is missing.
            OSError: The file cannot be read; see `unreadable`.
            SettingsError: The file is not TOML, has another table or nests too deeply.
        """
        try:
            raw = tomllib.loads(_read_text(self.file, MAX_FILE_BYTES))
        except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML, or too long
            raise self.unreadable(error) from error
        self._require_known_keys(raw, tables, "")
        if _is_deeper(raw, MAX_DEPTH):
            raise self.fault(f"{self.file.name}: must not nest tables and lists more than {MAX_DEPTH} levels deep")
        return raw

    def read(self, raw: Any, kind: Any, key: str) -> Any:
        """Structure one value of the file.

        Raises:
            NeedsSettings: The table `incomplete` lacks a required key.
            SettingsError: The value is invalid.
        """
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        try:
            if len(arguments) == 2 and type(None) in arguments and raw is not None:
                return self.read(raw, arguments[arguments[0] is type(None)], key)
            if attrs.has(kind):
                return self._read_table(raw, kind, key)
            if origin is list:
                return [self.read(item, arguments[0], f"{key}[{n}]") for n, item in enumerate(_typed(list, raw))]
            if origin is dict:
                return {n: self.read(item, arguments[1], f"{key}.{n}") for n, item in _typed(dict, raw).items()}
            value = self._resolve(raw, key)
            if kind is Secret:
                return Secret(_typed(str, value))
            return _typed(kind, value) if kind in KIND_WORDS else cattrs.structure(value, kind)
        except (_Fault, NeedsSettings):
            raise
        except Exception as error:  # a settings class of a plugin may raise anything
            raise self._invalid(error, raw, kind, key) from None  # its text may have a secret

    def fault(self, fault: str, hint: str = "") -> SettingsError:
        """Return the error for a fault, with its remedy."""
        return _Fault(fault[:MAX_FAULT_CHARACTERS], f"{hint} Fix it in {self.file}.".strip())

    def unreadable(self, error: Exception) -> SettingsError:
        """Return the error for a file that cannot be read."""
        remedy = "Fix the file, or move it away to start with defaults."
        return SettingsError(f"{self.file} cannot be read: {error}"[:MAX_FAULT_CHARACTERS], remedy)

    def _require_known_keys(self, raw: Iterable[str], known: Iterable[str], table: str) -> None:
        """Refuse the first unknown key and suggest a known one."""
        for key in raw:
            if key not in known:
                hint = did_you_mean(key[:80], known, otherwise=f"Known keys: {', '.join(known) or 'none'}.")
                raise self.fault(f"{table}{key}: unknown key", hint)

    def _read_table(self, raw: Any, shape: Any, key: str) -> Any:
        fields, kinds = attrs.fields_dict(shape), typing.get_type_hints(shape)
        if not isinstance(raw, Mapping):
            raise _WrongKind(key, f"must be a table with the keys {', '.join(fields)}", raw)
        self._require_known_keys(raw, fields, f"{key}.")
        absent = [name for name, attribute in fields.items() if attribute.default is attrs.NOTHING and name not in raw]
        if absent and key == self.incomplete:
            raise NeedsSettings(f"set [{key}] {', '.join(absent)}")
        if absent:
            raise self.fault(f"{key}.{absent[0]}: must be set")
        values = {name: self.read(value, kinds.get(name, Any), f"{key}.{name}") for name, value in raw.items()}
        try:
            return shape(**{str(fields[name].alias): value for name, value in values.items()})
        except Exception as error:  # a validator of a plugin may raise anything
            culprit = error.key if isinstance(error, InvalidSetting) else _culprit(error, fields, values)
            if culprit not in fields:
                raise
            raise self._invalid(error, raw.get(culprit), kinds.get(culprit), f"{key}.{culprit}") from None

    def _resolve(self, value: Any, key: str) -> Any:
        """Replace the references `env:NAME` and `file:PATH` in a value."""
        if isinstance(value, Mapping):
            return {name: self._resolve(inner, key) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._resolve(inner, key) for inner in value]
        if not isinstance(value, str) or not value.startswith(("env:", "file:")):
            return value
        source, _, name = value.partition(":")
        path = self.file.parent / name
        try:
            return self.environment[name] if source == "env" else _read_text(path, MAX_VALUE_BYTES).strip()
        except KeyError:
            raise self.fault(f"{key}: the environment variable {name} is not set") from None
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, not a file name, or too long
            raise self.fault(f"{key}: {path} cannot be read: {error}") from None

    def _invalid(self, error: Exception, raw: Any, kind: Any, key: str) -> SettingsError:
        """Return an error with the key, the rule, and the value as the file has it, unless it is a secret."""
        is_secret, is_reference = _has_secret(kind), re.search("env:|file:", str(raw)) is not None
        # The text of any other error may contain the value.
        if isinstance(error, _WrongKind if is_secret else BrokenRule if is_reference else InvalidSetting):
            rule = error.rule
        elif is_secret or is_reference:
            rule = f"is invalid ({type(error).__name__})"
        else:
            rule = str(error.args[0]) if isinstance(error, ValueError) and error.args else repr(error)
        if attrs.has(kind) and isinstance(raw, Mapping):  # it may be long
            return self.fault(f"{key}: {rule}")
        return self.fault(f"{key}: {rule}, got {quote(Secret() if is_secret else raw)}")


def _read_text(path: Path, max_bytes: int) -> str:
    """Return the text of a regular file. Open no pipe for long, and read no device, which may have no end.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not a regular file, too long, or not UTF-8.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return content.decode().replace("\r\n", "\n")


def _typed(kind: type, value: Any) -> Any:
    converted = as_number(kind, value) if kind in (int, float) else value
    if not isinstance(converted, kind):
        words = {list: "a list", dict: "a table", **KIND_WORDS}
        raise _WrongKind("", f"must be {words[kind]}", value)
    return converted


def _culprit(error: Exception, fields: Mapping[str, attrs.Attribute[Any]], values: Mapping[str, Any]) -> str:
    """Return the field whose converter or validator raises an error by itself; an empty string if none does."""
    for name, value in values.items():
        own = attrs.field(validator=fields[name].validator, converter=fields[name].converter)
        try:
            attrs.make_class("Alone", {name: own})(value)
        except Exception as repeated:  # the same code of a plugin
            if (type(repeated), repeated.args[:1]) == (type(error), error.args[:1]):
                return name
    return ""


def _has_secret(kind: Any, seen: tuple[Any, ...] = ()) -> bool:
    """Return whether a value of a kind may contain a secret."""
    is_table = attrs.has(kind) and kind not in seen  # a class may contain itself
    try:
        parts = typing.get_type_hints(kind).values() if is_table else typing.get_args(kind)
    except NameError:  # a type that only a type checker knows
        return True
    return kind is Secret or any(_has_secret(part, (*seen, kind)) for part in parts)


def _is_deeper(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(items) and (levels == 0 or any(_is_deeper(item, levels - 1) for item in items))
