"""The start-up circuit breaker: a host that keeps dying waits longer and longer before it starts again."""

from __future__ import annotations

import json
import time
from pathlib import Path

# How long the n-th start within an hour of the one before waits: one mistake costs nothing, a loop ever more.
DELAYS_S = (0, 0, 10, 30, 120, 300, 900)
WINDOW_S = 3600.0


def count_start(path: Path, now: float | None = None) -> float:
    """Note a start, and return how many seconds to wait before going on.

    The note is written before the wait, so that dying during it counts.

    Args:
        now: Epoch seconds; None is the current time.
    """
    at = time.time() if now is None else now
    attempt = _attempt_before(path, at) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"attempt": attempt, "timestamp": at}), encoding="utf-8")
    return float(DELAYS_S[min(attempt, len(DELAYS_S)) - 1])


def reset(path: Path) -> None:
    """Forget the starts: the host stopped in order."""
    path.unlink(missing_ok=True)


def _attempt_before(path: Path, now: float) -> int:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        attempt, before = int(found["attempt"]), float(found["timestamp"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return 0  # no file, or one that says nothing: this is the first start
    return max(attempt, 0) if 0 <= now - before < WINDOW_S else 0
