"""Formats one record for people.

Single values come first, then each list or table under its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanoclaw_client.rendering import render


def format_record(data: Mapping[str, Any]) -> str:
    """Format a nested answer as lines. Empty lists and records are left out."""
    single = dict(_line(key, value) for key, value in data.items() if not isinstance(value, list | dict))
    width = max(map(len, single), default=0)
    parts = ["\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in single.items())]
    for key, value in data.items():
        if isinstance(value, dict) and value:
            value = [value] if all(not isinstance(inner, list | dict) for inner in value.values()) else value
        if isinstance(value, list | dict) and value:
            parts.append(f"{key.replace('_', ' ')}\n{_indented(value)}")
    return "\n\n".join(parts)


def _indented(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(f"  {item}" for item in value)
    return "\n".join(f"  {line}" for line in render(value).splitlines())


def _line(key: str, value: Any) -> tuple[str, str]:
    """Return the label and the text of a single value, with the unit of its key."""
    unit = " s" if key.endswith("_s") else ""
    return key.removesuffix("_s").replace("_", " "), _scalar(value) + unit


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)
