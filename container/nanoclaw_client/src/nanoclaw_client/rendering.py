"""Formats data for people: texts and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nanoclaw_client.terminal_text import count_blanks, show_hidden, terminal_safe, visible_json

GAP = "  "
MIN_COLUMN_WIDTH = 16  # an id is never cut


def render(data: Any, width: int | None = None) -> str:
    """Format a verb's answer for a terminal.

    A string stays unchanged, a list of flat records becomes a table, an empty list `(no rows)`, null an empty string,
    and any other value JSON. Terminal control characters are escaped (⚠48). In records and JSON, which may hold a
    request that a person decides about, invisible characters are escaped, too, and long runs of blanks counted.

    Args:
        data: The data of the answer frame.
        width: Terminal width in characters. Wider tables are cut. None cuts nothing.
    """
    if data is None:
        return ""
    if isinstance(data, str):
        return terminal_safe(data)
    if isinstance(data, list) and not data:
        return "(no rows)"
    if isinstance(data, list) and all(_is_flat_record(row) for row in data):
        return table(data, width)
    return visible_json(json.dumps(count_blanks(data), indent=2, ensure_ascii=False))


def table(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Format records as columns, in the order in which their keys first appear; `width` as in `render`."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    widths = widths if width is None else _fit(widths, width)
    rule = ["─" * width for width in widths]
    return "\n".join(
        GAP.join(_cut(text, width).ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [columns, rule, *cells]
    )


def _fit(widths: Sequence[int], max_width: int) -> list[int]:
    """Narrow the widest columns until a line fits, but none below `MIN_COLUMN_WIDTH`."""
    fitted = list(widths)
    excess = sum(fitted) + len(GAP) * (len(fitted) - 1) - max_width
    while excess > 0 and max(fitted) > MIN_COLUMN_WIDTH:
        widest = fitted.index(max(fitted))
        others = max((column for column in fitted if column < fitted[widest]), default=MIN_COLUMN_WIDTH)
        less = min(excess, fitted[widest] - max(MIN_COLUMN_WIDTH, others - 1))
        fitted[widest] -= less
        excess -= less
    return fitted


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _is_flat_record(row: Any) -> bool:
    return isinstance(row, dict) and bool(row) and not any(isinstance(value, dict | list) for value in row.values())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value) if isinstance(value, bool) else show_hidden(count_blanks(str(value)))
    return "".join(character if character.isprintable() else " " for character in text)
