"""The settings of an operator in nanoclaw.toml, validated when they are read.

`[core]` is `CoreSettings`; `[plugins.<name>]` has the shape that the plugin declares. An unknown key is an error that
suggests the nearest known key. A string may be `env:NAME` or `file:PATH` (relative to the instance directory), so that
secrets stay out of the file.
"""

from __future__ import annotations

import math
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from attrs import field, frozen
from nanoclaw_wire import clock
from nanoclaw_wire.config import TURN_PAUSES_S
from nanoclaw_wire.names import SETTINGS_FILE
from nanoclaw_wire.private_paths import exposure_of
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.errors import InvalidSetting, NeedsSettings, SettingsError, quote
from nanoclaw_core.rules import BrokenRule, Rule, Secret, between, each, not_empty, one_of

MAX_DEPTH = 20  # of tables and lists; the core's settings need 4
MAX_FAULT_CHARACTERS = 1_000  # a key of the file and the text of a plugin's rule may be long
KIND_WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
PAUSE = between(0.01, 86_400)  # a shorter one would be a busy loop, a longer one than a day is no retry
T = TypeVar("T")


@frozen(kw_only=True)
class AllowedMount:
    """A directory of the host below which agents may mount directories.

    Args:
        path: An absolute path, or one with `~`.
        writable: True if mounts may be writable.
    """

    path: str = field(
        validator=Rule("must be an absolute path, or one with ~", lambda path: path.startswith(("/", "~")))
    )
    writable: bool = False


@frozen(kw_only=True)
class CoreSettings:
    """The `[core]` table.

    Args:
        owners: User ids with all rights, for example `terminal:operator`.
        provider: The provider of every session, unless the session or its agent group has its own.
        fallback_provider: Fallback if `provider` keeps its default and has no key. Empty: no fallback.
        runtime: The name of a runtime, for example `docker`. Empty: a ready one.
        network: `gateway`, `open` or `none`, unless the agent group has its own.
        timezone: An IANA name. Empty: the time zone of the machine.
        log_level: debug, info, warning or error.
        max_sandboxes: The maximum number of running sandboxes. An idle one stops for a waiting conversation.
        idle_stop_s: Seconds after which an idle sandbox stops.
        memory_mb: Memory limit of one sandbox in MiB, unless the agent group has its own.
        cpus: Processor limit of one sandbox, unless the agent group has its own.
        pids: Process limit of one sandbox, unless the agent group has its own.
        outgoing_file_bytes: The maximum total size of the files of one outgoing message.
        attachment_bytes: The maximum size of one incoming attachment.
        delivery_pauses_s: Seconds before the next attempt after each failed delivery attempt; the last one repeats.
        delivery_max_age_s: Seconds after a message's creation, own date or retry in which its delivery is tried.
        start_pauses_s: Seconds before the next attempt after each failed start of a sandbox; the last one repeats.
        retry_pause_s: Seconds before a message is retried after its sandbox died; doubles for each of five tries.
        turn_pauses_s: Seconds before each retry of a turn that failed for a passing reason; empty for no retry.
        disabled_plugins: Plugins that are not loaded.
        required_plugins: Plugins without which the host does not start.
        allowed_mounts: Host directories below which agents may mount directories.
        budgets: Budgets on everything that sandboxes and people in chats can make the host store.
    """

    owners: list[str] = field(factory=list)
    provider: str = "claude"
    fallback_provider: str = "mock"
    runtime: str = ""
    network: str = field(default="gateway", validator=one_of("gateway", "open", "none"))
    timezone: str = field(
        default="",
        validator=Rule("must be an IANA name like Europe/Berlin", lambda name: not name or clock.is_zone(name)),
    )
    log_level: str = field(default="info", validator=one_of("debug", "info", "warning", "error"))
    max_sandboxes: int = field(default=20, validator=between(1, 10_000))
    idle_stop_s: float = field(default=1800.0, validator=between(1, 31_536_000))
    memory_mb: int = field(default=4096, validator=between(64, 16_777_216))
    cpus: float = field(default=2.0, validator=between(0.01, 1_024))
    pids: int = field(default=1024, validator=between(16, 4_194_304))  # the largest process id of Linux
    outgoing_file_bytes: int = field(default=50_000_000, validator=between(0, 1_000_000_000))
    attachment_bytes: int = field(default=50_000_000, validator=between(0, 1_000_000_000))
    delivery_pauses_s: list[float] = field(
        factory=lambda: [2.0, 15.0, 60.0, 240.0], validator=[not_empty(), each(PAUSE)]
    )
    delivery_max_age_s: float = field(default=86_400.0, validator=between(0, 3_153_600_000))  # 100 years
    start_pauses_s: list[float] = field(
        factory=lambda: [1.0, 5.0, 15.0, 60.0, 300.0], validator=[not_empty(), each(PAUSE)]
    )
    retry_pause_s: float = field(default=5.0, validator=PAUSE)
    turn_pauses_s: list[float] = field(factory=lambda: [*TURN_PAUSES_S], validator=each(between(0, 3_600)))
    disabled_plugins: list[str] = field(factory=list)
    required_plugins: list[str] = field(factory=list)
    allowed_mounts: list[AllowedMount] = field(factory=list)
    budgets: Budgets = field(factory=Budgets)


@frozen(kw_only=True)
class Settings:
    """All settings of one instance.

    Args:
        home: The instance directory.
        plugins: The raw `[plugins.<name>]` tables; `for_plugin` applies a plugin's own shape.
    """

    home: Path
    core: CoreSettings = CoreSettings()
    plugins: Mapping[str, Mapping[str, Any]] = field(factory=dict, repr=False)  # may have secrets

    def for_plugin(self, name: str, shape: type[T] | None, environment: Mapping[str, str]) -> T | None:
        """Return a plugin's settings in its own shape; None if it declares none.

        Raises:
            NeedsSettings: A required key is missing.
            SettingsError: A key is unknown, or a value has the wrong type.
        """
        if shape is None:
            return None
        settings: T = _Reader(self.home, environment).read(self.plugins.get(name, {}), shape, f"plugins.{name}")
        return settings


def load_settings(home: Path, environment: Mapping[str, str]) -> Settings:
    """Read an instance's nanoclaw.toml; a missing file means defaults.

    Raises:
        SettingsError: The file cannot be read, is not TOML, does not have the right shape, or others may change it.
    """
    path = home / SETTINGS_FILE
    try:
        require_private(home, path)
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(home=home)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8 or not TOML
        remedy = "Fix the file, or move it away to start with defaults."
        raise SettingsError(f"{path} cannot be read: {error}"[:MAX_FAULT_CHARACTERS], remedy) from error
    reader = _Reader(home, environment)
    reader.require_known_keys(raw, ("core", "plugins"), "")
    if _is_deeper(raw, MAX_DEPTH):
        raise reader.fault(f"{SETTINGS_FILE}: must not nest tables and lists more than {MAX_DEPTH} levels deep")
    core = reader.read(raw.get("core", {}), CoreSettings, "core")
    plugins = raw.get("plugins", {})
    if not isinstance(plugins, dict) or not all(isinstance(table, dict) for table in plugins.values()):
        raise reader.fault("plugins: must have one table per plugin, like [plugins.terminal]")
    return Settings(home=home, core=core, plugins=plugins)


def require_private(*paths: Path) -> None:
    """Check that no other user of the machine may change a path; see `exposure_of`.

    Raises:
        SettingsError: Another user may; the error has the command that prevents it.
    """
    for exposure in filter(None, map(exposure_of, paths)):
        raise SettingsError(exposure.fault, exposure.remedy)


def as_number(kind: type, value: Any) -> int | float | None:
    """Convert a value to a number, even from a string, as typed or from `env:` and `file:`.

    Return None if it is not a number, or not a finite one: JSON and SQLite have no NaN (⚠17).
    """
    if isinstance(value, bool) or not isinstance(value, str | int | kind):
        return None
    try:
        number: int | float = kind(value)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None


def _is_deeper(value: Any, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(items) and (levels == 0 or any(_is_deeper(item, levels - 1) for item in items))


class _Fault(SettingsError):
    """A value is invalid. The message begins with its key."""


class _WrongKind(BrokenRule):
    """A value has another type. The reader itself raises it, so its text never has a secret."""


@frozen
class _Reader:
    """Structures a table value by value, so that each error has its key."""

    home: Path
    environment: Mapping[str, str]

    def read(self, raw: Any, kind: Any, key: str) -> Any:
        """Structure one value of nanoclaw.toml.

        Raises:
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

    def require_known_keys(self, raw: Iterable[str], known: Iterable[str], table: str) -> None:
        """Refuse the first unknown key and suggest a known one."""
        for key in raw:
            if key not in known:
                hint = did_you_mean(key[:80], known, otherwise=f"Known keys: {', '.join(known) or 'none'}.")
                raise self.fault(f"{table}{key}: unknown key", hint)

    def fault(self, fault: str, hint: str = "") -> SettingsError:
        """Return the error for a fault, with its remedy."""
        return _Fault(fault[:MAX_FAULT_CHARACTERS], f"{hint} Fix it in {self.home / SETTINGS_FILE}.".strip())

    def _read_table(self, raw: Any, shape: Any, key: str) -> Any:
        fields, kinds = attrs.fields_dict(shape), typing.get_type_hints(shape)
        if not isinstance(raw, Mapping):
            raise _WrongKind(key, f"must be a table with the keys {', '.join(fields)}", raw)
        self.require_known_keys(raw, fields, f"{key}.")
        absent = [name for name, attribute in fields.items() if attribute.default is attrs.NOTHING and name not in raw]
        if absent and re.fullmatch(r"plugins\.[^.]+", key):
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
        try:
            return self.environment[name] if source == "env" else (self.home / name).read_text(encoding="utf-8").strip()
        except KeyError:
            raise self.fault(f"{key}: the environment variable {name} is not set") from None
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not a file name
            raise self.fault(f"{key}: {self.home / name} cannot be read: {error}") from None

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
