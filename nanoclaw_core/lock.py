"""I11: one host per instance directory, ensured by a lock that ends with the process."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from nanoclaw_wire.names import HOST_LOCK

from nanoclaw_core.errors import AlreadyRunning

# A check whether a host runs holds the lock for some microseconds and must not prevent a start.
TRIES, PAUSE_S = 20, 0.005


class InstanceLock:
    """The lock of one instance directory."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / HOST_LOCK
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            AlreadyRunning: Another process has the lock; the error has its process id.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _is_acquired(descriptor):
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunning(
                f"another host (process {owner}) runs on {self._path.parent.parent}. "
                "Use it with `ncl`, or stop it first."
            )
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
