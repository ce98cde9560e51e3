"""Slash commands that do not pass to an agent, or that need rights."""

from __future__ import annotations

FILTERED = frozenset({"/help", "/login", "/logout", "/doctor", "/config", "/remote-control"})
ADMIN = frozenset({"/clear", "/compact", "/context", "/cost", "/files"})
