"""Parses lines of the host's and the runners' logs into entries, and formats entries. Pure.

An entry is the JSON object of a line. A line that is no JSON object, such as one of an earlier version, becomes the
`event` of an entry without other keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from nanoclaw_client.terminal_text import count_blanks, terminal_line, terminal_safe
from nanoclaw_wire.log_lines import MAX_READ_BYTES, shorten

HEAD = ("timestamp", "level", "logger", "event")  # without names, in this order
_BELOW = ("stack", "exception")


def entry_of(line: bytes) -> dict[str, Any]:
    """Parse a line. A sandbox may write any bytes: a line longer than MAX_READ_BYTES is shortened and not parsed."""
    text = line.decode("utf-8", "replace")
    if len(line) <= MAX_READ_BYTES:
        try:
            entry = json.loads(text)
            as_json(entry)  # Python reads NaN and 1e999, which no JSON has
        except (ValueError, RecursionError):
            return {"event": text}
        if isinstance(entry, dict):
            return entry
    return {"event": shorten(text, MAX_READ_BYTES)}


def as_json(entry: Mapping[str, Any]) -> str:
    """Return an entry as one line of JSON in ASCII, so that it has no terminal control characters."""
    return json.dumps(entry, allow_nan=False)


def as_text(entry: Mapping[str, Any], paint_level: Callable[[str], str] = str) -> str:
    """Return an entry as text for people: one line, and an exception below it."""
    cells = columns(entry)
    if "level" in cells:
        cells["level"] = paint_level(cells["level"])
    first = [cells.pop(key) for key in HEAD if key in cells]
    return " ".join([*first, *(f"{key}={text}" for key, text in cells.items())]) + below(entry)


def columns(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of an entry's line, in order. Texts and names are safe to print on a terminal."""
    head = {key: _one_line(entry.get(key, "")).rstrip(" ") for key in HEAD}
    cells = {key: text.upper() if key == "level" else text for key, text in head.items() if text}
    values = {key: value for key, value in entry.items() if key not in HEAD and key not in _BELOW}
    return cells | {_quoted(key): _quoted(value) for key, value in values.items()}


def below(entry: Mapping[str, Any]) -> str:
    """Return the lines of an entry's exception and stack, safe and indented, each after a line end."""
    lines = [line for key in _BELOW if key in entry for line in _text(entry[key]).splitlines()]
    return "".join(f"\n  {terminal_safe(line)}" for line in lines)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _one_line(value: object) -> str:
    """Return a value as one line. Long runs of blanks are counted, because the line must not seem to end in them."""
    return terminal_line(count_blanks(_text(value)))


def _quoted(value: object) -> str:
    """Return a value as text, in quotes if its end would be ambiguous."""
    text = _text(value)
    plain = text.isprintable() and text and not any(c in text for c in ' "=')
    return text if plain else _one_line(json.dumps(text, ensure_ascii=False))
