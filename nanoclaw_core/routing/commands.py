"""Slash commands at the border: which go through, which need rights, which concern nobody. Pure."""

from __future__ import annotations

from enum import Enum

from nanoclaw_wire.commands import command_of

FILTERED = frozenset({"/help", "/login", "/logout", "/doctor", "/config", "/remote-control"})
ADMIN = frozenset({"/clear", "/compact", "/context", "/cost", "/files"})


class Gate(Enum):
    """What the border does with a text."""

    PASS = "pass"
    FILTER = "filter"
    NEEDS_ADMIN = "needs-admin"


def gate(text: str) -> Gate:
    """Say what the border does with a text."""
    command = command_of(text)
    if command in FILTERED:
        return Gate.FILTER
    return Gate.NEEDS_ADMIN if command in ADMIN else Gate.PASS
