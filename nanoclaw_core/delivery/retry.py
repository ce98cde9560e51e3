"""When a failed delivery is tried again. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def pause_after(attempts: int, pauses_s: Sequence[float]) -> float | None:
    """Return the seconds to wait after so many attempts, or None where there is no further one."""
    return pauses_s[attempts - 1] if attempts <= len(pauses_s) else None
