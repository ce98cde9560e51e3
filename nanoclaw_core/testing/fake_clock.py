"""A clock that the test moves, for code that takes a `sleep` or a current time. So no test waits by sleeping."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from nanoclaw_core.testing.recorder import WAIT_S

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FakeClock:
    """A clock for tests: pass `clock.sleep` for `asyncio.sleep`, and `clock.now` for the current time.

    Args:
        at: The time at which it starts.
        hurries: True to advance by itself: every sleep ends at once, and only `pauses` records it.
    """

    def __init__(self, at: datetime = START, *, hurries: bool = False) -> None:
        self.pauses: list[float] = []
        self._at, self._hurries = at, hurries
        self._moved, self._asked = asyncio.Event(), asyncio.Event()

    def now(self) -> datetime:
        """Return the clock's time, aware, in UTC."""
        return self._at

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock by this many seconds."""
        self.pauses.append(seconds)
        self._asked.set()
        if self._hurries:
            self.advance(seconds)
        ends = self._at if self._hurries else self._at + timedelta(seconds=seconds)
        await asyncio.sleep(0)
        while self._at < ends:
            self._moved.clear()
            await self._moved.wait()

    def advance(self, seconds: float) -> None:
        """Advance the clock. A negative number sets it back, as can happen to a machine's clock."""
        self._at += timedelta(seconds=seconds)
        self._moved.set()

    async def asked(self, count: int) -> list[float]:
        """Wait until `count` sleeps were requested, and return the length of each, in seconds."""
        async with asyncio.timeout(WAIT_S):
            while len(self.pauses) < count:
                self._asked.clear()
                await self._asked.wait()
        return self.pauses
