"""A list on disk of the processes of this instance, so that a later host can kill those of a dead one.

The system reuses process ids. So each file also holds the start time of its process, and a later process with the same
id is left alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import asdict, frozen


@frozen(kw_only=True)
class RecordedProcess:
    """A recorded process.

    Args:
        identity: Distinguishes the process from a later one with the same id, see `identity_of`.
    """

    name: str
    pid: int
    identity: str


class ProcessRegistry:
    """A directory with one small file per process. Record a process after its creation, and forget it after its end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own: set[int] = set()

    def record(self, name: str, pid: int) -> None:
        """Record a process that was just created."""
        self._own.add(pid)
        identity = identity_of(pid)
        if identity is None:
            return  # the process has ended already
        self._directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(RecordedProcess(name=name, pid=pid, identity=identity)))
        self._path(pid).write_text(text, encoding="utf-8")

    def forget(self, pid: int) -> None:
        """Forget a process that has ended."""
        self._own.discard(pid)
        self._path(pid).unlink(missing_ok=True)

    def end_leftovers(self) -> int:
        """Kill the running processes that an earlier host recorded, and return the number of their sandboxes."""
        ended = set()
        for path, entry in self._entries():
            if entry is not None and entry.pid in self._own:
                continue
            if entry is not None and kill_if_same(entry):
                ended.add(entry.name)
            path.unlink(missing_ok=True)
        return len(ended)

    def _path(self, pid: int) -> Path:
        return self._directory / f"{pid}.json"

    def _entries(self) -> Iterator[tuple[Path, RecordedProcess | None]]:
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield path, RecordedProcess(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                yield path, None  # a crash cut the file short; the process died with its host


def kill_if_same(entry: RecordedProcess) -> bool:
    """Kill the process if it is the recorded one, and return whether it was."""
    try:
        # The descriptor pins the process, so that its id cannot be reused between the check and the kill.
        descriptor = os.pidfd_open(entry.pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return False
    try:
        if identity_of(entry.pid) != entry.identity:
            return False
        if descriptor is None:
            os.kill(entry.pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def identity_of(pid: int) -> str | None:
    """Return a text that a later process with the same id does not share, or None if the process does not exist."""
    if not Path("/proc/self/stat").exists():
        return _started_by_ps(pid)
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    state, *rest = status.rpartition(")")[2].split()
    return None if state in "ZX" else f"{boot} {rest[18]}"  # proc_pid_stat(5): starttime, field 22


def _started_by_ps(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
