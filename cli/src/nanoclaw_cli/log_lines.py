"""Writes the log: one line per event, with a constant phrase and named values. `log_entries` parses it."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from nanoclaw_wire import clock
from nanoclaw_wire.log_file import LogFile

from nanoclaw_core import log_values

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
FILE_BYTES = 10_000_000  # five such files hold weeks of a busy host
FILES_KEPT = 5


class LineFormatter(logging.Formatter):
    """Formats records as one line with named values.

    Example: `2026-01-05T15:04:00.000Z INFO nanoclaw_core.router message routed session=ses-… correlation=…`.

    Args:
        tracebacks: False prints only the exception's message, for people who watch a terminal.
    """

    def __init__(self, *, tracebacks: bool = True) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        at = clock.to_text(datetime.fromtimestamp(record.created, UTC))
        values = {key: value for key, value in vars(record).items() if key not in _STANDARD} | dict(log_values())
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in values.items())
        line = f"{at} {record.levelname} {record.name} {record.getMessage()}{pairs}"
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        if self._tracebacks and record.exc_info:
            return f"{line}\n{self.formatException(record.exc_info)}"
        return f"{line} error={_quoted(f'{type(error).__name__}: {error}')}"


def configure_logs(level: str, directory: Path | None, *, to_stderr: bool) -> None:
    """Send our log lines to a rotated file and to stderr. For programs, not for libraries.

    Tracebacks go to the file. They go to stderr only without a file, or at level `debug`.

    Args:
        level: The lowest level to log, such as `info`.
        directory: The directory of `nanoclaw.log`, or None for no file.
        to_stderr: True logs to stderr, too.
    """
    root = logging.getLogger()
    root.setLevel(level.upper())
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if to_stderr else []
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        handlers.append(LogFile(directory / "nanoclaw.log", max_bytes=FILE_BYTES, backups=FILES_KEPT, reminds=True))
    whole = directory is None or level.lower() == "debug"
    for handler in handlers:
        handler.setFormatter(LineFormatter(tracebacks=whole or isinstance(handler, LogFile)))
        root.addHandler(handler)


def silence_logs() -> None:
    """Print no log lines of this process. Without a handler, Python prints warnings on stderr."""
    logging.getLogger().addHandler(logging.NullHandler())


def _quoted(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and text and not any(c in text for c in ' "=') else json.dumps(text)
