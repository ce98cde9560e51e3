"""Limits how often something happens, without refusing it."""

from __future__ import annotations

import asyncio
import math
import time

MAX_DELAY_S = 1.0  # a flood must not block its own session for longer after its end


class Pace:
    """Lets a burst pass at once, and delays later events to the rate.

    Args:
        per_s: The rate.
        burst: How many pass without a delay.
    """

    def __init__(self, *, per_s: float, burst: float) -> None:
        self._gap_s, self._burst_s = 1 / per_s, burst / per_s
        self._next_at_s = -math.inf

    async def wait(self, count: int = 1) -> None:
        """Wait for the next free moment of some events."""
        delay_s = self.next_delay_s(time.monotonic(), count)
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    def next_delay_s(self, now_s: float, count: int = 1) -> float:
        """Take the next free moment of some events, and return the time until then."""
        earliest_s = max(self._next_at_s, now_s - self._burst_s) + self._gap_s * count
        self._next_at_s = min(earliest_s, now_s + MAX_DELAY_S)
        return max(0.0, self._next_at_s - now_s)
