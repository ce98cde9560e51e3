"""The heartbeat file: its time shows the host that the runner is alive."""

from __future__ import annotations

import os
from pathlib import Path

from nanoclaw_wire import clock


class Heartbeat:
    """The heartbeat file. Each claim touches it, and a timer while the provider has work or shows signs of life."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def touch(self) -> None:
        """Set the file's time to now; create the file if it is missing.

        The time comes from the clock that stamps claims. The kernel's own file time is up to one tick (10 ms) old, so
        a touch could seem older than the claim before it.
        """
        now_ns = round(clock.now().timestamp() * 1_000_000) * 1_000
        try:
            os.utime(self._path, ns=(now_ns, now_ns))
        except FileNotFoundError:
            self._path.touch()
            os.utime(self._path, ns=(now_ns, now_ns))
