"""Colours for state words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

_COLOURS = {"ok": "32", "warning": "33", "problem": "31", "active": "32", "disabled": "33", "failed": "31"}


def coloured(state: str, stream: TextIO, environment: Mapping[str, str]) -> str:
    """Return a state word in its colour, or unchanged if the stream is no terminal or NO_COLOR is set."""
    if state not in _COLOURS or environment.get("NO_COLOR") or environment.get("TERM") == "dumb" or not stream.isatty():
        return state
    return f"\x1b[{_COLOURS[state]}m{state}\x1b[0m"
