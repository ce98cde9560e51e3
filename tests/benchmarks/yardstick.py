"""The machine itself: what a durable commit and a stretch of Python cost here and now, to compare our figures with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.inbound import Kind, NewInbound


def commit_ms(directory: Path, rounds: int = 60) -> float:
    """Return what one durable insert into a session file takes, in milliseconds (median)."""
    directory.mkdir(parents=True, exist_ok=True)
    session_files.create_inbound(directory / "yardstick.db")
    db = session_files.open_writable(directory / "yardstick.db")
    times = []
    for number in range(rounds):
        row = NewInbound(id=f"m{number}", kind=Kind.CHAT, at="2026-01-01T00:00:00.000Z", content='{"text": "x"}')
        with timed(times):
            inbound.append(db, [row])
    db.close()
    return statistics.median(times)


def python_ms(rounds: int = 7) -> float:
    """Return what a fixed stretch of pure Python takes, in milliseconds (median)."""
    times: list[float] = []
    for _ in range(rounds):
        with timed(times):
            sum(number * number % 7 for number in range(100_000))
    return statistics.median(times)


@contextmanager
def timed(times: list[float]) -> Iterator[None]:
    """Append the milliseconds that a block takes."""
    began = time.perf_counter()
    yield
    times.append((time.perf_counter() - began) * 1_000)
