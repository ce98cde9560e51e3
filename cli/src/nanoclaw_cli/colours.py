"""Colours for state words and log levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

_RED, _GREEN, _YELLOW = "31", "32", "33"
_COLOURS = {
    "ok": _GREEN,
    "active": _GREEN,
    "warning": _YELLOW,
    "disabled": _YELLOW,
    "problem": _RED,
    "failed": _RED,
    "error": _RED,
    "critical": _RED,
}


def has_colours(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return True if a stream is a terminal with colours and NO_COLOR is not set."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()


def coloured(word: str, stream: TextIO, environment: Mapping[str, str]) -> str:
    """Return a state word or a level in its colour.

    It stays unchanged if the stream has no colours.
    """
    colour = _COLOURS.get(word.lower())
    return word if colour is None or not has_colours(stream, environment) else f"\x1b[{colour}m{word}\x1b[0m"
