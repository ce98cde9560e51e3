"""Parses lines of the host's and the runners' logs into entries, and formats entries. Pure.

An entry is a record with `at`, `level`, `logger`, `message`, the named values of the line, and `exception` if the line
has one. Both logs give the same keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nanoclaw_client.terminal_text import terminal_safe

_FIRST = ("at", "level", "logger", "message")
_PAIR = r' [^\s="]+=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)'
_HOST_LINE = re.compile(rf"(\d{{4}}-\S+Z) ([A-Z]+) (\S+) (.*?)((?:{_PAIR})*)")
_VALUE = re.compile(r' ([^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)')


def host_entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Parse the host's log. Lines below an entry, such as a traceback, become its `exception`."""
    entry: dict[str, Any] | None = None
    for line in lines:
        match = _HOST_LINE.fullmatch(line)
        if match is None and entry is not None:
            entry["exception"] = f"{entry['exception']}\n{line}" if "exception" in entry else line
            continue
        if entry is not None:
            yield entry
        entry = {"message": line} if match is None else _entry(*match.groups())
    if entry is not None:
        yield entry


def runner_entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Parse a runner's log, which a sandbox wrote. An invalid line becomes the message of an entry."""
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        yield entry if isinstance(entry, dict) else {"message": line}


def as_json(entry: Mapping[str, Any]) -> str:
    """Return an entry as one line of JSON, without terminal control characters."""
    return json.dumps(entry)


def as_text(entry: Mapping[str, Any]) -> str:
    """Return an entry as text for people: one line, and an exception below it."""
    level = str(entry.get("level", "")).upper()
    first = [str(entry.get("at", "")), level, str(entry.get("logger", "")), str(entry.get("message", ""))]
    rest = [f"{name}={_plain(value)}" for name, value in entry.items() if name not in (*_FIRST, "exception")]
    line = " ".join(text for text in (*first, *rest) if text)
    exception = [f"\n{terminal_safe(below)}" for below in str(entry.get("exception", "")).splitlines()]
    return terminal_safe(line) + "".join(exception)


def _entry(at: str, level: str, logger: str, message: str, values: str) -> dict[str, Any]:
    entry = {"at": at, "level": level.lower(), "logger": logger, "message": message}
    for name, text in _VALUE.findall(values):
        entry.setdefault(name, _unquoted(text))
    return entry


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        return text


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text and not any(c in text for c in ' "=\n') else json.dumps(text)
