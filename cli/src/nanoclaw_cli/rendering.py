"""Data as people read it: texts, tables, and the state words with their colours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

GAP = "  "
_COLOURS = {"ok": "32", "warning": "33", "problem": "31", "active": "32", "disabled": "33", "failed": "31"}


def render(data: Any) -> str:
    """Return what a verb's answer looks like on a terminal.

    A text is given raw, a list of flat records as a table, an empty list as `(no rows)`, null as an empty text,
    anything else as JSON.
    """
    if data is None:
        return ""
    if isinstance(data, str):
        return data
    if isinstance(data, list) and not data:
        return "(no rows)"
    if isinstance(data, list) and all(_is_flat_record(row) for row in data):
        return table(data)
    return json.dumps(data, indent=2, ensure_ascii=False)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay records out in columns, in the order in which their keys first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    rule = ["─" * width for width in widths]
    return "\n".join(
        GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [columns, rule, *cells]
    )


def coloured(state: str, stream: TextIO, environment: Mapping[str, str]) -> str:
    """Return a state word in its colour, where the stream is a terminal and nobody said NO_COLOR."""
    if state not in _COLOURS or environment.get("NO_COLOR") or environment.get("TERM") == "dumb" or not stream.isatty():
        return state
    return f"\x1b[{_COLOURS[state]}m{state}\x1b[0m"


def _is_flat_record(row: Any) -> bool:
    return isinstance(row, dict) and bool(row) and not any(isinstance(value, dict | list) for value in row.values())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return "".join(character if character.isprintable() else " " for character in text)
