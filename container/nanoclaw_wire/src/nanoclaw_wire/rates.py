"""Rates: the number of times that something may happen, per key, with bursts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from attrs import define, field

MAX_KEYS = 10_000  # the key that was used longest ago is forgotten first


@define(kw_only=True, eq=False)
class Rates:
    """A token bucket for each key.

    Args:
        count: The number of tokens of a full bucket.
        fill_s: Seconds in which an empty bucket fills.
    """

    count: int
    fill_s: float
    _buckets: OrderedDict[Hashable, tuple[float, float]] = field(factory=OrderedDict, init=False)

    def take(self, key: Hashable, now: float) -> bool:
        """Take a token at a time in seconds; return False if none is left."""
        left, at = self._buckets.pop(key, (float(self.count), now))
        left = min(self.count, left + max(0.0, now - at) * self.count / self.fill_s)
        self._buckets[key] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return left >= 1
