"""The descendants of a process, read from /proc."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Process:
    """A descendant of another process.

    Args:
        depth: 1 for a child, 2 for a child of a child, and so on.
    """

    pid: int
    name: str
    depth: int


def processes_below(pid: int, depth: int = 1) -> Iterator[Process]:
    """Yield the descendants of a process, parents first.

    Processes that start or end meanwhile may be missing.
    """
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(path).split():
            yield Process(pid=int(child), name=_read(Path(f"/proc/{child}/comm")).strip(), depth=depth)
            yield from processes_below(int(child), depth + 1)


def kill(processes: Iterable[Process]) -> int:
    """Kill the processes that still run, and return their number."""
    killed = 0
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
    return killed


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # the process has ended
