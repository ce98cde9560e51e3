"""Writes the log: JSON lines to a file, and the same lines as text to stderr. `log_entries` parses and formats them."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from nanoclaw_wire.log_budget import BudgetedHandler
from nanoclaw_wire.log_file import LogFile
from nanoclaw_wire.log_lines import JsonFormatter
from nanoclaw_wire.names import HOST_LOG

from nanoclaw_cli.colours import coloured
from nanoclaw_cli.log_entries import as_text
from nanoclaw_core import log_values

FILE_BYTES = 10_000_000  # five such files hold weeks of a busy host
FILES_KEPT = 5


class TextFormatter(JsonFormatter):
    """Formats records as text for people. It is the text of the JSON line that the file gets.

    Example: `2026-01-05T15:04:00.000Z INFO nanoclaw_core.router message routed session=ses-… correlation=…`.

    Args:
        tracebacks: False prints only the exception's message, for people who watch a terminal.
        paint_level: Colours the level's name.
    """

    def __init__(self, *, tracebacks: bool = True, paint_level: Callable[[str], str] = str) -> None:
        super().__init__(log_values, tracebacks=tracebacks)
        self._paint_level = paint_level

    def format(self, record: logging.LogRecord) -> str:
        return as_text(json.loads(super().format(record)), self._paint_level)


def configure_logs(
    level: str,
    directory: Path,
    environment: Mapping[str, str],
    *,
    to_stderr: bool,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send our log lines to a rotated file and to stderr. For programs, not for libraries.

    Tracebacks go to the file. They go to stderr only at level `debug`. The lines of each session and of each library
    have a limit a minute, in the file and on stderr.

    Args:
        level: The lowest level to log, such as `info`.
        directory: The directory of `nanoclaw.log`.
        environment: Environment variables. NO_COLOR stops colours on a terminal.
        to_stderr: True logs to stderr, too.
        clock: Returns monotonic seconds, for the limits.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # before the host can close it
    paint_level = partial(coloured, stream=sys.stderr, environment=environment)
    text = TextFormatter(tracebacks=level.lower() == "debug", paint_level=paint_level)
    file = LogFile(
        directory / HOST_LOG,
        max_bytes=FILE_BYTES,
        backups=FILES_KEPT,
        reminds=True,
        report_formatter=text,
    )
    file.setFormatter(JsonFormatter(log_values))
    handlers: list[logging.Handler] = [file]
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[-1].setFormatter(text)
    root = logging.getLogger()
    root.setLevel(level.upper())
    root.addHandler(BudgetedHandler(handlers, log_values, clock=clock))


def silence_logs() -> None:
    """Print no log lines of this process. Without a handler, Python prints warnings on stderr."""
    logging.getLogger().addHandler(logging.NullHandler())
