"""The runner's log: one JSON object per line, with the correlation id of its turn.

It goes to stderr and to `out/runner.log`. The host shows the end of stderr if a sandbox dies. The file outlives the
sandbox, so the reference in an error message leads to its cause (I12).
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

FILE_BYTES = 1_000_000  # with one older file: months of a quiet conversation, days of a busy one
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record and its `extra` values as one line.

    Args:
        correlation: Returns the correlation id of the running turn, or None.
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
    """Send all log records of this process to stderr and a file. Only the program calls this, never a library.

    If the file cannot be written, stderr reports it once and still gets the lines.
    """
    log_file = LogFile(file, max_bytes=FILE_BYTES, backups=1, delay=True)
    root = logging.getLogger()
    root.handlers = [logging.StreamHandler(sys.stderr), log_file]
    for handler in root.handlers:
        handler.setFormatter(JsonLines(correlation))
    root.setLevel(level)
