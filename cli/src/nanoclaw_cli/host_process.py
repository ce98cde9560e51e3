"""Finds the process that runs the host of an instance, by its lock (I11)."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from nanoclaw_wire.names import HOST_LOCK


def host_process_of(run_dir: Path) -> int | None:
    """Return the process id of an instance's host.

    It is 0 if it is unreadable, and None if no host runs.
    """
    try:
        descriptor = os.open(run_dir / HOST_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return None
