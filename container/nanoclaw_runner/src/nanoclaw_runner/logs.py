"""What the runner logs: one JSON object a line, with the correlation id of the turn it belongs to.

It goes to stderr, whose end the host shows where a sandbox dies, and to `out/runner.log`, which outlives the sandbox: a
person who was given a reference finds there what went wrong (I12).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from nanoclaw_wire import clock
from nanoclaw_wire.log_file import LogFile

FILE_BYTES = 1_000_000  # with one older file beside it: months of a quiet conversation, days of a busy one
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Writes a record and its `extra` values as one line.

    Args:
        correlation: Says which message is being worked on now; None for none.
    """

    def __init__(self, correlation: Callable[[], str | None]) -> None:
        super().__init__()
        self._correlation = correlation

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": clock.to_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        correlation = self._correlation()
        if correlation is not None:
            line["correlation_id"] = correlation
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(correlation: Callable[[], str | None], file: Path, level: str = "INFO") -> None:
    """Send everything that is logged in this process to stderr and a file. For the program, never for a library.

    A file that cannot be written is no error: stderr says so once, and has the lines.
    """
    kept = LogFile(file, max_bytes=FILE_BYTES, backups=1, delay=True)
    root = logging.getLogger()
    root.handlers = [logging.StreamHandler(sys.stderr), kept]
    for handler in root.handlers:
        handler.setFormatter(JsonLines(correlation))
    root.setLevel(level)
