"""Formats log records as JSON lines, for the host's log and for the logs of runners.

A line has `timestamp`, `level`, `logger` and `event`, then the record's `extra` values and the context values, and
`exception` or `stack` if the record has one. structlog writes the same keys; decision 0017 says why it is not used.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from nanoclaw_wire import clock

MAX_LINE_BYTES = 32_768
OWN_KEYS = ("timestamp", "level", "logger", "event", "exception", "stack")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LIMITS = (8_192, 1_024, 128)  # characters of a value, tried in turn until the line fits
_MAX_KEY = 128


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON in ASCII, at most MAX_LINE_BYTES long.

    Args:
        context: Returns values for each line, such as the correlation id. An `extra` value of the same name wins.
        tracebacks: False writes an exception's message as `error`, and no traceback.
    """

    def __init__(self, context: Callable[[], Mapping[str, object]], *, tracebacks: bool = True) -> None:
        super().__init__()
        self._context, self._tracebacks = context, tracebacks

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "timestamp": clock.to_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        for key, value in {**extra, **self._context(), **extra}.items():  # extra first in the order, and it wins
            entry[f"{key}_" if key in OWN_KEYS else key] = value
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not self._tracebacks:
            entry.setdefault("error", f"{type(error).__name__}: {error}")
        elif error is not None and record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info and self._tracebacks:
            entry["stack"] = self.formatStack(record.stack_info)
        return to_line(entry)


def to_line(entry: Mapping[str, object]) -> str:
    """Encode an entry as one line of JSON.

    Long values lose their middle until the line fits in MAX_LINE_BYTES. If it has too many values, only those of
    OWN_KEYS stay, and `omitted` counts the others.
    """
    line = _encoded(entry)
    for limit in _LIMITS:
        if len(line) <= MAX_LINE_BYTES:
            return line
        shortened = {shorten(key, _MAX_KEY): _shorten_value(value, limit) for key, value in entry.items()}
        line = _encoded(shortened)
    if len(line) <= MAX_LINE_BYTES:
        return line
    kept = {key: value for key, value in shortened.items() if key in OWN_KEYS}
    return _encoded({**kept, "omitted": len(entry) - len(kept)})


def shorten(text: str, limit: int) -> str:
    """Replace the middle of a text that has more than `limit` characters."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]} ... {len(text) - 2 * half} characters ... {text[-half:]}"


def _encoded(entry: Mapping[str, object]) -> str:
    try:
        return json.dumps(entry, default=_text, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # no JSON: a NaN, a cycle, a key that is no string, a huge integer
        return json.dumps({key: _text(value) for key, value in entry.items()})


def _shorten_value(value: object, limit: int) -> object:
    text = _text(value)
    return value if len(text) <= limit else shorten(text, limit)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # foreign code; the line must not be lost
        return f"<{type(value).__name__}: {type(error).__name__}>"
