"""I11: one host per instance directory, ensured by a lock that ends with the process."""

from __future__ import annotations

from pathlib import Path

from nanoclaw_untrusted.process_locks import LockHeld, ProcessLock
from nanoclaw_wire.names import HOST_LOCK

from nanoclaw_core.errors import AlreadyRunning


class InstanceLock(ProcessLock):
    """The lock of one instance directory."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir / HOST_LOCK)
        self._home = run_dir.parent

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            AlreadyRunning: Another process has the lock; the error has its process id.
        """
        try:
            super().acquire()
        except LockHeld as error:
            raise AlreadyRunning(
                f"another host (process {error.owner}) runs on {self._home}. Use it with `ncl`, or stop it first."
            ) from error
