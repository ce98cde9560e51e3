"""The file whose time tells the host that the runner is alive."""

from __future__ import annotations

import os
from pathlib import Path

from nanoclaw_wire import clock


class Heartbeat:
    """Touched at every sign of life: by events of the provider, and by a timer while a turn is open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def touch(self) -> None:
        """Set the file's time to now; create the file if it is missing.

        The time is that of the clock that stamps claims. The kernel's own time for files is up to one tick (10 ms) old,
        so that a beat could seem to be older than the claim before it.
        """
        now_ns = round(clock.now().timestamp() * 1_000_000) * 1_000
        try:
            os.utime(self._path, ns=(now_ns, now_ns))
        except FileNotFoundError:
            self._path.touch()
            os.utime(self._path, ns=(now_ns, now_ns))
