"""A clock that goes when the test says so, for whatever takes a `sleep` or a time: no test waits by sleeping."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from nanoclaw_core.testing.recorder import WAIT_S

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FakeClock:
    """Give `clock.sleep` in place of `asyncio.sleep`, and `clock.now` in place of a current time.

    Args:
        at: What it shows first.
        hurries: True moves the clock on by itself: every sleep ends at once, and only `pauses` tells of it.
    """

    def __init__(self, at: datetime = START, *, hurries: bool = False) -> None:
        self.pauses: list[float] = []
        self._at, self._hurries = at, hurries
        self._moved, self._asked = asyncio.Event(), asyncio.Event()

    def now(self) -> datetime:
        """Return what it shows, aware, in UTC."""
        return self._at

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has moved the clock on by so many seconds."""
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
        """Move the clock on; below nothing it goes back, as a machine's clock may."""
        self._at += timedelta(seconds=seconds)
        self._moved.set()

    async def asked(self, count: int) -> list[float]:
        """Wait until so many sleeps were asked for, and return how long each is, in seconds."""
        async with asyncio.timeout(WAIT_S):
            while len(self.pauses) < count:
                self._asked.clear()
                await self._asked.wait()
        return self.pauses
