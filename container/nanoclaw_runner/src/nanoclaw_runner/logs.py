"""What the runner says on stderr: one JSON object a line, with the correlation id of the turn it belongs to."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from nanoclaw_wire import clock

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


def write_to(correlation: Callable[[], str | None], stream: TextIO | None = None, level: str = "INFO") -> None:
    """Send everything that is logged in this process to a stream. For the program, never for a library."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(correlation))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
