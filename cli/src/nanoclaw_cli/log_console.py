"""Renders log entries for `ncl logs` with structlog's console renderer.

Only `ncl logs` may import this module: structlog imports rich if it is installed (decision 0017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter

from nanoclaw_cli.log_entries import below, columns


def console_renderer(*, colours: bool) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that formats an entry like `log_entries.as_text`, with or without colours."""
    styles = ConsoleRenderer.get_default_column_styles(colours)
    levels = {name.upper(): style for name, style in ConsoleRenderer.get_default_level_styles(colours).items()}

    def style(style: str, *, key_style: str | None = None) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(key_style, style, styles.reset, value_repr=str)

    def level(key: str, value: object) -> str:
        return style(levels.get(str(value), ""))(key, value)

    render = ConsoleRenderer(
        columns=[
            Column("timestamp", style(styles.timestamp)),
            Column("level", level),
            Column("logger", style(styles.logger_name)),
            Column("event", style(styles.bright)),
            Column("", style(styles.kv_value, key_style=styles.kv_key)),
        ],
        sort_keys=False,
    )
    return lambda entry: render(None, "", columns(entry)) + below(entry)
