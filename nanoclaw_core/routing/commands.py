"""Slash commands at the border: which go through, which need rights, which concern nobody. Pure."""

from __future__ import annotations

from enum import Enum

FILTERED = frozenset({"/help", "/login", "/logout", "/doctor", "/config", "/remote-control"})
ADMIN = frozenset({"/clear", "/compact", "/context", "/cost", "/files"})


class Gate(Enum):
    """What the border does with a text."""

    PASS = "pass"
    FILTER = "filter"
    NEEDS_ADMIN = "needs-admin"


def command_of(text: str) -> str | None:
    """Return the command a text starts with, lower case with its slash, or None: `/Clear now` is `/clear`.

    The whole word counts, so `/clearance` is not `/clear` (⚠46).
    """
    words = text.split(maxsplit=1)
    return words[0].lower() if words and words[0].startswith("/") else None


def gate(text: str) -> Gate:
    """Say what the border does with a text."""
    command = command_of(text)
    if command in FILTERED:
        return Gate.FILTER
    return Gate.NEEDS_ADMIN if command in ADMIN else Gate.PASS
