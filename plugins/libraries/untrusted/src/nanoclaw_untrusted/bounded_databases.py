"""Reads SQLite files that another party writes, with a limit of processor time for each query.

A file with a hot journal is left to its next writer, because a rollback follows a file name that the other side could
have written (docs/decisions/0002).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import apsw

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_STEPS_BETWEEN = 100


class NeedsRecovery(Exception):
    """The file has a hot journal of a killed writer; the next writer repairs it."""


def limit_cpu(db: apsw.Connection, cpu_s: float) -> None:
    """Limit a connection's processor time in this thread from now on; a longer query raises apsw.InterruptError."""
    until = time.thread_time() + cpu_s
    db.set_progress_handler(lambda: time.thread_time() > until, _STEPS_BETWEEN)


class BoundedReaders(Generic[K]):
    """Connections to many files, which stay open between the queries.

    Args:
        open_file: Opens the file of a key, with a limit of processor time.
        cpu_s: The limit of each later query.
    """

    def __init__(self, open_file: Callable[[K], apsw.Connection], *, cpu_s: float) -> None:
        self._open_file, self._cpu_s = open_file, cpu_s
        self._open: dict[K, apsw.Connection] = {}

    def query(self, key: K, query: Callable[[apsw.Connection], T]) -> T:
        """Call a function with the connection to a file, and return its result.

        After an error the next query opens the file again, because it may have been replaced.

        Raises:
            NeedsRecovery: A writer must repair the file first.
            apsw.BusyError: The file is locked now.
            Exception: The file cannot be opened or read.
        """
        try:
            if key not in self._open:
                self._open[key] = self._open_file(key)
            else:
                limit_cpu(self._open[key], self._cpu_s)
            return query(self._open[key])
        except apsw.BusyError:
            raise  # the connection is usable; the caller retries
        except (apsw.ReadOnlyError, apsw.CantOpenError) as error:
            self.release(key)
            raise NeedsRecovery(str(error)) from error
        except Exception:  # any other error may come from a replaced file
            self.release(key)
            raise

    def release(self, key: K) -> None:
        """Close a file."""
        db = self._open.pop(key, None)
        if db is not None:
            db.close()

    def close(self) -> None:
        """Close all files."""
        for key in list(self._open):
            self.release(key)
