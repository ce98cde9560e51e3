"""The start-up circuit breaker: a crashing host waits longer before each start."""

from __future__ import annotations

import json
import time
from pathlib import Path

# Delay of the n-th start within an hour of the previous one. One crash costs nothing, a crash loop more each time.
DELAYS_S = (0, 0, 10, 30, 120, 300, 900)
WINDOW_S = 3600.0


def count_start(path: Path, now: float | None = None) -> float:
    """Record a start and return its delay in seconds.

    The record is written before the delay, so that a crash during the delay counts.

    Args:
        path: File of the record. Its directory is created if it is missing.
        now: Epoch seconds; None is the current time.
    """
    at = time.time() if now is None else now
    attempt = _last_attempt(path, at) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"attempt": attempt, "timestamp": at}), encoding="utf-8")
    return float(DELAYS_S[min(attempt, len(DELAYS_S)) - 1])


def reset(path: Path) -> None:
    """Delete the record of starts after an orderly stop."""
    path.unlink(missing_ok=True)


def _last_attempt(path: Path, now: float) -> int:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        attempt, before = int(record["attempt"]), float(record["timestamp"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return 0  # no file, or an invalid one: this is the first start
    return max(attempt, 0) if 0 <= now - before < WINDOW_S else 0
