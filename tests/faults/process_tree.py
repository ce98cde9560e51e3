"""The processes below one, as /proc shows them."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Process:
    """A process that descends from another one.

    Args:
        depth: 1 for a child, 2 for a child of a child, and so on.
    """

    pid: int
    name: str
    depth: int


def processes_below(pid: int, depth: int = 1) -> Iterator[Process]:
    """Yield the processes that descend from one, each before its own children. It may miss those that end or begin."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(path).split():
            yield Process(pid=int(child), name=_read(Path(f"/proc/{child}/comm")).strip(), depth=depth)
            yield from processes_below(int(child), depth + 1)


def kill(processes: Iterable[Process]) -> int:
    """Kill each of the processes that has not ended, and return how many those were."""
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
        return ""  # it ended
