"""Keeping log lines out of what a command prints."""

from __future__ import annotations

import logging


def keep_logs_silent() -> None:
    """Send log lines of this process nowhere; without a handler Python would print warnings on stderr."""
    logging.getLogger().addHandler(logging.NullHandler())
