"""When a failed delivery is tried again. Pure."""

from __future__ import annotations

ATTEMPTS = 3
PAUSES_S = (2.0, 15.0)  # after the first and the second attempt: a hiccup, then a restart of the platform's client


def pause_after(attempts: int) -> float | None:
    """Return the seconds to wait after so many attempts, or None where there is no further one."""
    if attempts >= ATTEMPTS:
        return None
    return PAUSES_S[min(attempts, len(PAUSES_S)) - 1]
