"""Time that passes only when nobody has anything to do: ten minutes of waiting take a fraction of a second.

    with simulated_time(monkeypatch) as loop:
        loop.run_until_complete(scenario())

Timers fire in their order and at their times, on the loop's clock and on `time.time()` alike. It is true for work in
this process alone: other processes live in the machine's time.
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

REAL_WAIT_S = 0.002  # for what is not on the loop: a thread that hands its result over


class _Selector(selectors.DefaultSelector):
    """Skips a wait in which nothing arrives.

    Args:
        may_skip: False while a thread works for the loop.
    """

    def __init__(self, may_skip: Callable[[], bool]) -> None:
        super().__init__()
        self.skipped_s = 0.0
        self._may_skip = may_skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(REAL_WAIT_S if timeout is None else min(timeout, REAL_WAIT_S))
        if not found and timeout and self._may_skip():
            self.skipped_s += timeout
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when nothing is ready."""

    def __init__(self) -> None:
        self._in_threads = 0
        self._skipping = _Selector(lambda: not self._in_threads)
        super().__init__(self._skipping)

    @property
    def skipped_s(self) -> float:
        """By how much its clock is ahead of the machine's, in seconds."""
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
    """Give a loop with simulated time, and set the machine's clock by it for as long as the `with` lasts."""
    real, loop = time.time, SimulatedLoop()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: real() + loop.skipped_s)
            yield loop
    finally:
        loop.close()
