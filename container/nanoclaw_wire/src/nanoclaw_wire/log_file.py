"""A log file that a full disk cannot turn into a flood, for the host and for runners."""

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
    """Writes lines to a rotated file. If it cannot, it says so on stderr, and again when it can.

    logging itself answers each line that cannot be written with two tracebacks. On a full disk that is a flood, and
    makes the disk fuller if stderr goes to a file, too. A failure is said at most once in `QUIET_S`, also on a disk
    that is full every other moment.

    Args:
        max_bytes: The size at which a new file begins.
        backups: How many older files are kept.
        delay: True opens the file for the first line, so that one that cannot be opened does not stop the program.
        reminds: True says a failure that lasts every `QUIET_S`.
        clock: Returns seconds that only grow.
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
    ) -> None:
        super().__init__(file, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", delay=delay)
        self._reminds, self._clock = reminds, clock
        self._said_at: float | None = None
        self._is_said = False  # the failure that lasts was said
        self._has_failed = False  # the line that is written now

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; never raises for want of a file."""
        self._has_failed = False
        super().emit(record)
        if self._is_said and not self._has_failed:
            self._is_said = False
            self._say(logging.INFO, "log file can be written again")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Say why the file cannot be written; report a wrong call of a logger as logging does."""
        self._has_failed = True
        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, MemoryError)):
            super().handleError(record)
            return
        now = self._clock()
        is_quiet = self._said_at is not None and now - self._said_at < QUIET_S
        if is_quiet or (self._is_said and not self._reminds):
            return
        self._said_at, self._is_said = now, True
        self._say(logging.WARNING, "log file cannot be written", error=f"{type(error).__name__}: {error}")

    def _say(self, level: int, message: str, **values: str) -> None:
        fields = {"name": __name__, "levelno": level, "levelname": logging.getLevelName(level), "msg": message}
        with contextlib.suppress(OSError, ValueError, MemoryError):  # stderr may be as full, or closed
            line = self.format(logging.makeLogRecord({**fields, "file": self.baseFilename, **values}))
            print(line, file=sys.stderr, flush=True)

    def _open(self) -> TextIOWrapper:
        """Open the file without waiting: a pipe of its name must not stop the program."""
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_without_waiting)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
