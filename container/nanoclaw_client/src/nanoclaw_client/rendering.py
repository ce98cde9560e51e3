"""Data as people read it: texts and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nanoclaw_client.terminal_text import terminal_safe

GAP = "  "
NARROWEST = 16  # an id stays whole


def render(data: Any, width: int | None = None) -> str:
    """Return what a verb's answer looks like on a terminal.

    A text is given as it is, a list of flat records as a table, an empty list as `(no rows)`, null as an empty text,
    anything else as JSON. Nothing of it steers a terminal (⚠48).

    Args:
        width: Of the terminal, in characters: wider tables are cut; None cuts nothing.
    """
    if data is None:
        return ""
    if isinstance(data, str):
        return terminal_safe(data)
    if isinstance(data, list) and not data:
        return "(no rows)"
    if isinstance(data, list) and all(_is_flat_record(row) for row in data):
        return table(data, width)
    return terminal_safe(json.dumps(data, indent=2, ensure_ascii=False))


def table(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> str:
    """Lay records out in columns, in the order in which their keys first appear; `width` as in `render`."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)]
    widths = widths if width is None else _fitted(widths, width)
    rule = ["─" * width for width in widths]
    return "\n".join(
        GAP.join(_cut(text, width).ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in [columns, rule, *cells]
    )


def _fitted(widths: Sequence[int], at_most: int) -> list[int]:
    """Make the widest columns narrower until a line fits, and none so narrow that it cannot be read."""
    fitted = list(widths)
    excess = sum(fitted) + len(GAP) * (len(fitted) - 1) - at_most
    while excess > 0 and max(fitted) > NARROWEST:
        widest = fitted.index(max(fitted))
        others = max((one for one in fitted if one < fitted[widest]), default=NARROWEST)
        less = min(excess, fitted[widest] - max(NARROWEST, others - 1))
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
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return "".join(character if character.isprintable() else " " for character in text)
