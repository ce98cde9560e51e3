"""A lock on a file that ends with its process."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

# A check whether the lock is held holds it for some microseconds and must not prevent the owner from taking it.
TRIES, PAUSE_S = 20, 0.005


class LockHeld(Exception):
    """Another process has the lock.

    Attributes:
        owner: Its process id, or "unknown".
    """

    def __init__(self, owner: str) -> None:
        super().__init__(f"process {owner} has the lock")
        self.owner = owner


class ProcessLock:
    """A lock on one file, which also has the id of the process that holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockHeld: Another process has the lock.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _is_acquired(descriptor):
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise LockHeld(owner)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_acquired(descriptor: int) -> bool:
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S)
        else:
            return True
    return False
