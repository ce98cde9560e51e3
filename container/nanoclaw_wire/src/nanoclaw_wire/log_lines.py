"""Formats log records as JSON lines, for the host's log and for the logs of runners.

A line has `timestamp`, `level`, `logger` and `event`, then the record's `extra` values and the context values, and
`exception` or `stack` if the record has one. structlog writes the same keys; decision 0017 says why it is not used.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePath

from nanoclaw_wire import clock

MAX_LINE_BYTES = 8_192
MAX_PLAIN_BYTES = 2_048  # of a line without a traceback: a sandbox can cause such lines at will
MAX_READ_BYTES = 32_768  # of a line; earlier versions wrote longer ones
OWN_KEYS = ("timestamp", "level", "logger", "event", "exception", "stack")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LIMITS = (6_000, 1_500, 400, 100)  # characters of a value, tried in turn until the line fits
_MAX_KEY = 128
_MAX_FRAMES = 8  # of a traceback, in `describe`


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON in ASCII, of bounded length (see `to_line`).

    Args:
        context: Returns values for each line, such as the correlation id. An `extra` value of the same name wins.
        tracebacks: False writes an exception's class and message as `error`, and no traceback.
    """

    def __init__(self, context: Callable[[], Mapping[str, object]], *, tracebacks: bool = True) -> None:
        super().__init__()
        self._context, self._tracebacks = context, tracebacks

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "timestamp": clock.to_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _message(record),
        }
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        for key, value in {**extra, **self._context(), **extra}.items():  # extra first in the order, and it wins
            entry[f"{key}_" if key in OWN_KEYS else key] = value
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not self._tracebacks:
            entry.setdefault("error", f"{type(error).__name__}: {_text(error)}")
        elif error is not None and record.exc_info:
            text, failure = _attempt(partial(self.formatException, record.exc_info))
            entry["exception"] = text or f"{type(error).__name__} <{failure}>"
        if record.stack_info and self._tracebacks:
            entry["stack"] = self.formatStack(record.stack_info)
        return to_line(entry)


def to_line(entry: Mapping[str, object]) -> str:
    """Encode an entry as one line of JSON.

    Long values lose their middle until the line fits in MAX_PLAIN_BYTES, or in MAX_LINE_BYTES with a traceback. If it
    has too many values, only those of OWN_KEYS stay, and `omitted` counts the others.
    """
    max_bytes = MAX_LINE_BYTES if {"exception", "stack"} & entry.keys() else MAX_PLAIN_BYTES
    line = _encoded(entry)
    for limit in _LIMITS:
        if len(line) <= max_bytes:
            return line
        shortened = {shorten(_text(key), _MAX_KEY): _shorten_value(value, limit) for key, value in entry.items()}
        line = _encoded(shortened)
    if len(line) <= max_bytes:
        return line
    kept = {key: value for key, value in shortened.items() if key in OWN_KEYS}
    return _encoded({**kept, "omitted": len(entry) - len(kept)})


def describe(error: BaseException) -> dict[str, str]:
    """Return the class, the text and the place of an error, for `extra`.

    Use it instead of a traceback if a sandbox's data may have raised the error: a sandbox could raise it at will, with
    a text of its own. `raised_at` has the innermost frames, such as `actions.py:61 decoder.py:355`.
    """
    places: deque[str] = deque(maxlen=_MAX_FRAMES)
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return {"error": f"{type(error).__name__}: {_text(error)}", "raised_at": " ".join(places)}


def shorten(text: str, limit: int) -> str:
    """Replace the middle of a text that has more than `limit` characters."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]} ... {len(text) - 2 * half} characters ... {text[-half:]}"


def _encoded(entry: Mapping[str, object]) -> str:
    line, _ = _attempt(partial(json.dumps, entry, default=_text, allow_nan=False))
    # No JSON: a NaN, a cycle, a key that is no string, a huge integer, an unusual class.
    return line or json.dumps({_text(key): _text(value) for key, value in entry.items()})


def _shorten_value(value: object, limit: int) -> object:
    text = _text(value)
    return value if len(text) <= limit else shorten(text, limit)


def _text(value: object) -> str:
    text, failure = _attempt(partial(str, value))
    return f"<{type(value).__name__}: {failure}>" if failure else text


def _message(record: logging.LogRecord) -> str:
    text, failure = _attempt(record.getMessage)  # fails for a wrong number of values, too
    return f"{_text(record.msg)} <{failure}>" if failure else text


def _attempt(convert: Callable[[], str]) -> tuple[str, str]:
    """Return the text of a value of any class, and the name of its error if it has none.

    A log call must never raise, so SystemExit and CancelledError count, too.
    """
    try:
        return convert(), ""
    except KeyboardInterrupt:  # a person's ctrl-c
        raise
    except BaseException as error:  # foreign code may raise anything
        return "", type(error).__name__
