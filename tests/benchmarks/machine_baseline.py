"""The machine's own speed: the time of a durable commit and of a fixed stretch of Python, to compare figures with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.inbound import Kind, NewInbound


def commit_ms(directory: Path, rounds: int = 60) -> float:
    """Return the milliseconds of one durable insert into a session file (median)."""
    directory.mkdir(parents=True, exist_ok=True)
    session_files.create_inbound(directory / "machine_baseline.db")
    db = session_files.open_writable(directory / "machine_baseline.db")
    times = []
    for number in range(rounds):
        row = NewInbound(id=f"m{number}", kind=Kind.CHAT, at="2026-01-01T00:00:00.000Z", content='{"text": "x"}')
        with timed(times):
            inbound.append(db, [row])
    db.close()
    return statistics.median(times)


def python_ms(rounds: int = 7) -> float:
    """Return the milliseconds of a fixed stretch of pure Python (median)."""
    times: list[float] = []
    for _ in range(rounds):
        with timed(times):
            sum(number * number % 7 for number in range(100_000))
    return statistics.median(times)


@contextmanager
def timed(times: list[float]) -> Iterator[None]:
    """Append the milliseconds of the block to `times`."""
    began = time.perf_counter()
    yield
    times.append((time.perf_counter() - began) * 1_000)
