"""A budget for log lines, so that a sandbox cannot fill the log or push other lines out of it (I14).

A line counts for its session, or for its logger if it has none. The handler enforces the budget, so it holds for every
log call, also for those of libraries.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context

from attrs import define

from nanoclaw_wire.rates import MAX_KEYS, Rates

MINUTE_S = 60.0
LINES = 15
"""Lines a minute of a session, and of a logger of another project."""

ERROR_LINES = 5
"""Further lines for errors. A sandbox causes warnings at will, and these must not hide an error of its session."""

HOST_FACTOR = 10
"""Factor for lines of our own loggers without a session, and for debug lines, which only an operator switches on."""

OWN_LOGGERS = "nanoclaw"
_MAX_NAME = 200  # characters of a session or logger, as a key


@define
class _LeftOut:
    since: float
    level: int = logging.WARNING
    count: int = 0


class BudgetedHandler(logging.Handler):
    """Passes records to other handlers. Each session and each logger may use up to LINES and ERROR_LINES a minute.

    A line says how many were left out. It follows a minute after the first of them, with the next record of any kind,
    or when the handler closes.

    Args:
        handlers: Write the lines. They close with this handler.
        context: Returns the context values of a record, which may have its `session`.
        max_sources: The sessions and loggers that may wait for their report. One more causes the oldest report.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        handlers: Sequence[logging.Handler],
        context: Callable[[], Mapping[str, object]],
        *,
        max_sources: int = MAX_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._handlers, self._context, self._clock, self._max_sources = handlers, context, clock, max_sources
        self._lines, self._errors = _rates(LINES), _rates(ERROR_LINES)
        self._wide_lines, self._wide_errors = _rates(LINES * HOST_FACTOR), _rates(ERROR_LINES * HOST_FACTOR)
        self._left_out: OrderedDict[tuple[str, str], _LeftOut] = OrderedDict()  # the oldest first

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, or count it as left out."""
        now = self._clock()
        while self._left_out and next(iter(self._left_out.values())).since <= now - MINUTE_S:
            self._report_oldest()
        key = self._key(record)
        if self._is_within_budget(key, record, now):
            self._pass_on(record)
            return
        left_out = self._left_out.setdefault(key, _LeftOut(now))
        left_out.count += 1
        left_out.level = max(left_out.level, record.levelno)
        if len(self._left_out) > self._max_sources:
            self._report_oldest()

    def flush(self) -> None:
        """Flush the other handlers."""
        for handler in self._handlers:
            handler.flush()

    def close(self) -> None:
        """Report all lines that were left out, and close the other handlers."""
        self.acquire()
        try:
            while self._left_out:
                self._report_oldest()
            for handler in self._handlers:
                handler.close()
        finally:
            self.release()
        super().close()

    def _key(self, record: logging.LogRecord) -> tuple[str, str]:
        session = getattr(record, "session", None) or self._context().get("session")
        if isinstance(session, str) and session:
            return "session", session[:_MAX_NAME]
        return "source", record.name[:_MAX_NAME]

    def _is_within_budget(self, key: tuple[str, str], record: logging.LogRecord, now: float) -> bool:
        is_ours = key[0] == "source" and key[1].startswith(OWN_LOGGERS)
        is_wide = is_ours or record.levelno <= logging.DEBUG
        errors, lines = (self._wide_errors, self._wide_lines) if is_wide else (self._errors, self._lines)
        return (record.levelno >= logging.ERROR and errors.take(key, now)) or lines.take(key, now)

    def _report_oldest(self) -> None:
        (kind, name), left_out = self._left_out.popitem(last=False)
        fields = {"name": __name__, "levelno": left_out.level, "levelname": logging.getLevelName(left_out.level)}
        values = {"msg": "log lines left out", kind: name, "count": left_out.count}
        # In an empty context: the line is not about the session or message that is at work now.
        Context().run(self._pass_on, logging.makeLogRecord(fields | values))

    def _pass_on(self, record: logging.LogRecord) -> None:
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


def _rates(count: int) -> Rates:
    return Rates(count=count, fill_s=MINUTE_S)
