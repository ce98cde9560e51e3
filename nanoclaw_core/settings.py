"""The settings of an operator in nanoclaw.toml, validated when they are read.

`[core]` is `CoreSettings`; `[plugins.<name>]` has the shape that the plugin declares. An unknown key is an error that
suggests the nearest known key. A string may be `env:NAME` or `file:PATH` (relative to the instance directory), so that
secrets stay out of the file.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
import traceback
import typing
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from attrs import field, frozen
from cattrs.cols import list_structure_factory
from cattrs.v import format_exception
from nanoclaw_wire import clock

from nanoclaw_core.errors import SettingsError

FILE_NAME = "nanoclaw.toml"
KIND_WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
T = TypeVar("T")
# The messages of attrs' validators: the rule, then the value.
_RULE = re.compile(r"((?:Length of )?'\w+' must .+?)(?:: [^:]*| \(got .*| \(.* doesn't\))")


class _Misfit(ValueError):
    """A value does not fit.

    The message has the rule, never the value, which may be a secret.
    """


@frozen(kw_only=True)
class AllowedMount:
    """A directory of the host below which agents may mount directories.

    Args:
        path: An absolute path, or one with `~`.
        writable: True if mounts may be writable.
    """

    path: str
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
        disabled_plugins: Plugins that are not loaded.
        required_plugins: Plugins without which the host does not start.
        allowed_mounts: Host directories below which agents may mount directories.
    """

    owners: list[str] = field(factory=list)
    provider: str = "claude"
    fallback_provider: str = "mock"
    runtime: str = ""
    network: str = field(default="gateway", validator=attrs.validators.in_(("gateway", "open", "none")))
    timezone: str = ""
    log_level: str = field(default="info", validator=attrs.validators.in_(("debug", "info", "warning", "error")))
    max_sandboxes: int = field(default=20, validator=attrs.validators.ge(1))
    idle_stop_s: float = field(default=1800.0, validator=attrs.validators.gt(0))
    memory_mb: int = field(default=4096, validator=attrs.validators.ge(64))
    cpus: float = field(default=2.0, validator=attrs.validators.gt(0))
    pids: int = field(default=1024, validator=attrs.validators.ge(16))
    outgoing_file_bytes: int = 50_000_000
    attachment_bytes: int = 50_000_000
    delivery_pauses_s: list[float] = field(
        factory=lambda: [2.0, 15.0, 60.0, 240.0], validator=attrs.validators.min_len(1)
    )
    delivery_max_age_s: float = field(default=86_400.0, validator=attrs.validators.ge(0))
    start_pauses_s: list[float] = field(
        factory=lambda: [1.0, 5.0, 15.0, 60.0, 300.0], validator=attrs.validators.min_len(1)
    )
    retry_pause_s: float = field(default=5.0, validator=attrs.validators.ge(0))
    disabled_plugins: list[str] = field(factory=list)
    required_plugins: list[str] = field(factory=list)
    allowed_mounts: list[AllowedMount] = field(factory=list)


@frozen(kw_only=True)
class Settings:
    """All settings of one instance.

    Args:
        home: The instance directory.
        plugins: The raw `[plugins.<name>]` tables; `for_plugin` applies a plugin's own shape.
    """

    home: Path
    core: CoreSettings = CoreSettings()
    plugins: Mapping[str, Mapping[str, Any]] = field(factory=dict)

    def for_plugin(self, name: str, shape: type[T] | None, environment: Mapping[str, str]) -> T | None:
        """Return a plugin's settings in its own shape; None if it declares none.

        Raises:
            SettingsError: A required key is missing, a key is unknown, or a value has the wrong type.
        """
        if shape is None:
            return None
        resolved = _resolve(self.plugins.get(name, {}), environment, self.home, f"[plugins.{name}]")
        return _structure(resolved, shape, f"[plugins.{name}]")


def load_settings(home: Path, environment: Mapping[str, str]) -> Settings:
    """Read an instance's nanoclaw.toml; a missing file means defaults.

    Raises:
        SettingsError: The file cannot be read, is not TOML, or does not have the right shape.
    """
    path = home / FILE_NAME
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(home=home)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8 or not TOML
        raise SettingsError(
            f"{path} cannot be read: {error}. Fix the file, or move it away to start with defaults."
        ) from error
    _require_known_keys(raw, ("core", "plugins"), str(path))
    core = _structure(_resolve(raw.get("core", {}), environment, home, "[core]"), CoreSettings, f"{path} [core]")
    if core.timezone and not clock.is_zone(core.timezone):
        reason = f"timezone: must be an IANA name like Europe/Berlin, got {core.timezone!r}"
        raise SettingsError(f"{path} [core]: {reason}")
    plugins = raw.get("plugins", {})
    if not isinstance(plugins, dict) or not all(isinstance(table, dict) for table in plugins.values()):
        raise SettingsError(f"{path}: plugins: must have one table per plugin, like [plugins.terminal]")
    return Settings(home=home, core=core, plugins=plugins)


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


def _resolve(value: Any, environment: Mapping[str, str], home: Path, where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _resolve(inner, environment, home, f"{where} {key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, environment, home, where) for inner in value]
    if isinstance(value, str) and value.startswith("env:"):
        name = value.removeprefix("env:")
        if name not in environment:
            raise SettingsError(f"{where}: the environment variable {name} is not set")
        return environment[name]
    if isinstance(value, str) and value.startswith("file:"):
        path = home / value.removeprefix("file:")
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not a file name
            raise SettingsError(f"{where}: {path} cannot be read: {error}") from error
    return value


def _structure(raw: Any, shape: type[T], where: str) -> T:
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{where} must be a table")
    if attrs.has(shape):
        _require_known_keys(raw, tuple(attrs.fields_dict(shape)), where)
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in KIND_WORDS:
        converter.register_structure_hook(kind, partial(_value, kind))
    converter.register_structure_hook_factory(_is_list, _list_hook)
    try:
        return converter.structure(raw, shape)
    except Exception as error:  # cattrs raises groups of many types; the user needs one message
        reasons = "; ".join(cattrs.transform_error(error, path=where, format_exception=partial(_reason, raw)))
        raise SettingsError(f"{reasons}. Fix it in {FILE_NAME}.") from error


def _reason(raw: Mapping[str, Any], error: BaseException, kind: type | None) -> str:
    if isinstance(error, _Misfit):
        return str(error)
    if isinstance(error, AttributeError) and kind and attrs.has(kind):
        return f"must be a table; its keys are {', '.join(attrs.fields_dict(kind))}"
    if kind or not isinstance(error, ValueError) or not error.args:
        return format_exception(error, kind)
    rule = _RULE.fullmatch(str(error.args[0]))
    return rule[1] if rule else _own_words(error, raw)


def _own_words(error: ValueError, raw: Mapping[str, Any]) -> str:
    """Return the message of a shape's own validator with the key and without the values."""
    frames = [frame.f_locals.values() for frame, _ in traceback.walk_tb(error.__traceback__)]
    keys = [repr(local.name) for values in frames for local in values if isinstance(local, attrs.Attribute)]
    words = str(error.args[0])
    for text in sorted(_texts(raw), key=len, reverse=True):
        words = words.replace(text, "…").replace(repr(text)[1:-1], "…")
    return ": ".join([*keys[:1], words])


def _texts(raw: Any) -> Iterator[str]:
    """Yield every string of a table that is long enough to be a secret."""
    if isinstance(raw, Mapping | list):
        for inner in raw.values() if isinstance(raw, Mapping) else raw:
            yield from _texts(inner)
    elif isinstance(raw, str) and len(raw) > 2:
        yield raw


def _value(kind: type, value: Any, _kind: Any) -> Any:
    converted = as_number(kind, value) if kind in (int, float) else value
    if not isinstance(converted, kind):
        raise _Misfit(f"must be {KIND_WORDS[kind]}")
    return converted


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is list


def _list_hook(kind: Any, converter: cattrs.Converter) -> Any:
    """Require a list for a list field; cattrs would convert a string to a list of letters."""
    structure = list_structure_factory(kind, converter)

    def structure_list(value: Any, wanted: Any) -> Any:
        if not isinstance(value, list):
            raise _Misfit("must be a list")
        return structure(value, wanted)

    return structure_list


def _require_known_keys(raw: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known) or 'none'}"
            raise SettingsError(f"{where}: unknown key {key!r}{hint}")
