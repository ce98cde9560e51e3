"""Validates single values of a config.

They come from terminals, agents and files, so each may be any JSON value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from nanoclaw_wire.layout import is_safe_name

from nanoclaw_core import InvalidArguments

Check = Callable[[str, Any], Any]
MAX_TEXT_CHARACTERS = 20_000  # longer than any sensible command line or instruction
EXAMPLES = {list: '["a", "b"]', dict: '{"KEY": "value"}'}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")  # the names of plugins, providers and runtimes
_MODEL = re.compile(r"[A-Za-z0-9][!-~]{0,199}")  # no leading hyphen, because it becomes a command-line argument
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # becomes part of the names of its tools
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = "nanoclaw"  # the MCP server of the tools that every agent has


def one_of(*choices: str) -> Check:
    """Return a check that accepts one of these words."""

    def check(flag: str, value: Any) -> Any:
        if value not in choices:
            raise InvalidArguments(f"{flag} must be one of {', '.join(choices)}, got {shortened(value)}")
        return value

    return check


def within(least: float, most: float, kind: type = int) -> Check:
    """Return a check for a number from `least` to `most`.

    The kind `float` accepts integers too.
    """
    kinds, expected = ((int, float), "a number") if kind is float else (int, "an integer")

    def check(flag: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            raise InvalidArguments(f"{flag} must be {expected} from {least} to {most}, got {shortened(value)}")
        return value

    return check


def _matching(pattern: re.Pattern[str], expected: str) -> Check:
    def check(flag: str, value: Any) -> Any:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidArguments(f"{flag} must be {expected}, got {shortened(value)}")
        return value

    return check


plugin_name = _matching(_NAME, "a lower-case name such as docker")
model = _matching(_MODEL, "a model name without spaces")
image = _matching(_IMAGE, "an image name such as registry/name:tag")
variable = _matching(_VARIABLE, "the name of an environment variable")
_server = _matching(_SERVER, "1 to 64 letters, digits, `-` or `_`")


def server_name(flag: str, value: Any) -> str:
    """Validate the name of an MCP server.

    The name of the agent's own tools is reserved.
    """
    name: str = _server(flag, value)
    if name == _OURS:
        raise InvalidArguments(f"{flag}: {name!r} is reserved for the agent's own tools. Choose another name")
    return name


def safe_name(flag: str, value: Any) -> str:
    """Validate a name that becomes one part of a path."""
    if not is_safe_name(value) or ":" in value:
        raise InvalidArguments(f"{flag} must be one part of a path without a colon, got {shortened(value)}")
    return str(value)


def line(flag: str, value: Any) -> str:
    """Validate a non-empty text of one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > MAX_TEXT_CHARACTERS:
        raise InvalidArguments(f"{flag} must be one line of text, got {shortened(value)}")
    return value


def path(flag: str, value: Any) -> str:
    """Validate a path that does not depend on the host's working directory."""
    if not line(flag, value).startswith(("/", "~")):
        raise InvalidArguments(f"{flag} must be absolute or begin with ~, got {shortened(value)}")
    return str(value)


def text(flag: str, value: Any) -> str:
    """Validate a text that a file and a command line can hold."""
    if not isinstance(value, str) or not _is_storable(value) or len(value) > MAX_TEXT_CHARACTERS:
        limit = f"a string of at most {MAX_TEXT_CHARACTERS} characters"
        raise InvalidArguments(f"{flag} must be {limit}, got {shortened(value)}")
    return value


def texts(flag: str, value: Any) -> list[str]:
    """Validate a list of texts."""
    if not isinstance(value, list):
        raise InvalidArguments(f'{flag} must be a list like ["a", "b"], got {shortened(value)}')
    return [text(flag, item) for item in value]


def variables(flag: str, value: Any) -> dict[str, str]:
    """Validate environment variables by name.

    Errors never show a value, because it may be a secret.
    """
    if not isinstance(value, Mapping):
        raise InvalidArguments(f'{flag} must be an object like {{"KEY": "value"}}')
    for name, content in value.items():
        if not isinstance(content, str) or not _is_storable(content):
            raise InvalidArguments(f"{flag}: the value of {variable(flag, name)} must be a string")
    return {variable(flag, name): content for name, content in value.items()}


def decoded(flag: str, value: str | None, absent: Any) -> Any:
    """Decode a JSON text. Return `absent` if the text is None."""
    if value is None:
        return absent
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"{flag} must be JSON like '{EXAMPLES[type(absent)]}', but: {error}") from error


def _is_storable(value: str) -> bool:
    return "\0" not in value and value.encode("utf-8", "replace").decode("utf-8") == value


def shortened(value: Any) -> str:
    """Return the representation of a value for an error, cut at 200 characters."""
    representation = repr(value)
    return representation if len(representation) <= 200 else f"{representation[:200]}…"
