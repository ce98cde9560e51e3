"""What one value of a config may be. Values come from terminals, from agents and from files: any JSON may be given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from nanoclaw_wire.layout import is_safe_name

from nanoclaw_core import InvalidArguments

Check = Callable[[str, Any], Any]
TEXT_AT_MOST = 20_000  # characters; more is no command line and no instruction
EXAMPLES = {list: '["a", "b"]', dict: '{"KEY": "value"}'}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")  # as plugins, providers and runtimes are called
_MODEL = re.compile(r"[A-Za-z0-9][!-~]{0,199}")  # begins with no hyphen: it stands on a command line
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # a part of the names of its tools
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = "nanoclaw"  # the server of the tools that every agent has


def one_of(*choices: str) -> Check:
    """Return a check for a closed set of words."""

    def check(flag: str, value: Any) -> Any:
        if value not in choices:
            raise InvalidArguments(f"{flag} must be one of {', '.join(choices)}, not {_short(value)}")
        return value

    return check


def within(least: float, most: float, kind: type = int) -> Check:
    """Return a check for a number; `float` takes whole ones too."""
    kinds, wanted = ((int, float), "a number") if kind is float else (int, "a whole number")

    def check(flag: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            raise InvalidArguments(f"{flag} must be {wanted} from {least} to {most}, not {_short(value)}")
        return value

    return check


def _matching(pattern: re.Pattern[str], wanted: str) -> Check:
    def check(flag: str, value: Any) -> Any:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidArguments(f"{flag} must be {wanted}, not {_short(value)}")
        return value

    return check


plugin_name = _matching(_NAME, "a lower-case name like docker")
model = _matching(_MODEL, "a model's name without blanks")
image = _matching(_IMAGE, "an image's name like registry/name:tag")
variable = _matching(_VARIABLE, "a variable's name")
_server = _matching(_SERVER, "1 to 64 letters, digits, `-` or `_`")


def server_name(flag: str, value: Any) -> str:
    """Return the name of an MCP server; that of the agent's own tools is taken."""
    name: str = _server(flag, value)
    if name == _OURS:
        raise InvalidArguments(f"{flag} {name!r} is the server of the agent's own tools; choose another name")
    return name


def safe_name(flag: str, value: Any) -> str:
    """Return a name that may become one part of a path."""
    if not is_safe_name(value) or ":" in value:
        raise InvalidArguments(f"{flag} must be one part of a path without a colon, not {_short(value)}")
    return str(value)


def line(flag: str, value: Any) -> str:
    """Return a text of one line with something in it."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > TEXT_AT_MOST:
        raise InvalidArguments(f"{flag} must be one line of text, not {_short(value)}")
    return value


def path(flag: str, value: Any) -> str:
    """Return a path that does not depend on where the host was started."""
    if not line(flag, value).startswith(("/", "~")):
        raise InvalidArguments(f"{flag} must be absolute or begin with ~, not {_short(value)}")
    return str(value)


def text(flag: str, value: Any) -> str:
    """Return a text that a file and a command line can hold."""
    if not isinstance(value, str) or not _is_storable(value) or len(value) > TEXT_AT_MOST:
        raise InvalidArguments(f"{flag} must be a text of at most {TEXT_AT_MOST} characters, not {_short(value)}")
    return value


def texts(flag: str, value: Any) -> list[str]:
    """Return a list of texts."""
    if not isinstance(value, list):
        raise InvalidArguments(f'{flag} must be a list like ["a", "b"], not {_short(value)}')
    return [text(flag, one) for one in value]


def variables(flag: str, value: Any) -> dict[str, str]:
    """Return environment variables by name; what an error says holds no value, which may be a secret."""
    if not isinstance(value, Mapping):
        raise InvalidArguments(f'{flag} must be an object like {{"KEY": "value"}}')
    for name, one in value.items():
        if not isinstance(one, str) or not _is_storable(one):
            raise InvalidArguments(f"{flag}: the value of {variable(flag, name)} must be a text")
    return {variable(flag, name): one for name, one in value.items()}


def decoded(flag: str, value: str | None, absent: Any) -> Any:
    """Return what a JSON text says; `absent` where there is none."""
    if value is None:
        return absent
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"{flag} must be JSON, like '{EXAMPLES[type(absent)]}', and is none: {error}") from error


def _is_storable(value: str) -> bool:
    return "\0" not in value and value.encode("utf-8", "replace").decode("utf-8") == value


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"
