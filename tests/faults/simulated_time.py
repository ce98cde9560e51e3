"""Simulated time: the clock jumps to the next timer when the loop is idle.

Ten minutes take a fraction of a second.

    with simulated_time(monkeypatch) as loop:
        loop.run_until_complete(scenario())

Timers fire in their order and at their times, on the loop's clock and on `time.time()` alike. Only this
process has simulated time; other processes keep the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import pytest

REAL_WAIT_S = 0.002  # for work outside the loop: a thread that passes its result to it


class _Selector(selectors.DefaultSelector):
    """A selector that skips a wait if nothing arrives.

    Args:
        may_skip: False while a thread works for the loop.
    """

    def __init__(self, may_skip: Callable[[], bool]) -> None:
        super().__init__()
        self.skipped_s = 0.0
        self._may_skip = may_skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(REAL_WAIT_S if timeout is None else min(timeout, REAL_WAIT_S))
        if not events and timeout and self._may_skip():
            self.skipped_s += timeout
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop that moves its clock to the next timer when nothing is ready."""

    def __init__(self) -> None:
        self._in_threads = 0
        self._skipping = _Selector(lambda: not self._in_threads)
        super().__init__(self._skipping)

    @property
    def skipped_s(self) -> float:
        """The lead of this clock over the machine's, in seconds."""
        return self._skipping.skipped_s

    def time(self) -> float:
        return super().time() + self.skipped_s

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._note_end)
        return future

    def _note_end(self, _future: object) -> None:
        self._in_threads -= 1


@contextlib.contextmanager
def simulated_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedLoop]:
    """Yield a loop with simulated time, and let `time.time()` follow it inside the `with` block."""
    real, loop = time.time, SimulatedLoop()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: real() + loop.skipped_s)
            yield loop
    finally:
        loop.close()
