"""A log file that does not flood stderr on a full disk, for the host and for runners."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

QUIET_S = 60.0


class LogFile(RotatingFileHandler):
    """A rotated log file. It reports on stderr if it cannot be written, and again once it can.

    logging itself prints two tracebacks for each line that it cannot write. On a full disk that is a flood, and it
    fills the disk further if stderr goes to a file. This handler reports at most one failure in `QUIET_S` seconds, even
    if the disk is full only now and then.

    Args:
        file: The log's path.
        max_bytes: The size at which a new file begins.
        backups: The number of older files to keep.
        delay: True to open the file at the first line, so that a file that cannot be opened does not stop the program.
        reminds: True to report a lasting failure every `QUIET_S` seconds.
        clock: Returns monotonic seconds.
        report_formatter: Formats the reports on stderr. None uses the file's formatter.
    """

    def __init__(
        self,
        file: Path,
        *,
        max_bytes: int,
        backups: int,
        delay: bool = False,
        reminds: bool = False,
        clock: Callable[[], float] = time.monotonic,
        report_formatter: logging.Formatter | None = None,
    ) -> None:
        super().__init__(file, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", delay=delay)
        self._reminds, self._clock, self._report_formatter = reminds, clock, report_formatter
        self._reported_at: float | None = None
        self._is_reported = False  # the current failure
        self._has_failed = False  # the current line

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. An unwritable file raises nothing."""
        self._has_failed = False
        super().emit(record)
        if self._is_reported and not self._has_failed:
            self._is_reported = False
            self._report(logging.INFO, "log file can be written again")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Report why the file cannot be written. Leave a wrong call of a logger to logging."""
        self._has_failed = True
        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, MemoryError)):
            super().handleError(record)
            return
        now = self._clock()
        is_quiet = self._reported_at is not None and now - self._reported_at < QUIET_S
        if is_quiet or (self._is_reported and not self._reminds):
            return
        self._reported_at, self._is_reported = now, True
        self._report(logging.WARNING, "log file cannot be written", error=f"{type(error).__name__}: {error}")

    def _report(self, level: int, message: str, **values: str) -> None:
        fields = {"name": __name__, "levelno": level, "levelname": logging.getLevelName(level), "msg": message}
        with contextlib.suppress(OSError, ValueError, MemoryError):  # stderr may be full or closed, too
            record = logging.makeLogRecord({**fields, "file": self.baseFilename, **values})
            print((self._report_formatter or self).format(record), file=sys.stderr, flush=True)

    def _open(self) -> TextIOWrapper:
        """Open the file without blocking, because a pipe of its name must not stop the program."""
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_open_without_blocking)


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
