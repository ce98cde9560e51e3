"""Log lines about a central database that takes no writes, a few for the whole host."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
LOG_REPEAT_S = 60.0


class DatabaseOutage:
    """Logs that the central database refuses writes, and that it works again.

    All parts of a host share one. Each of them tries again every few seconds, for each session and room, so a line for
    each try would fill the log. An outage has a line when it begins, at most one a minute, and one when it ends.

    Args:
        now: A clock in seconds that never goes back; tests pass their own.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._said_at: float | None = None
        self._is_said = False
        self._refused = 0

    def note_refusal(self, work: str, error: BaseException, *, again_in_s: float) -> None:
        """Note that something could not be written.

        Args:
            work: The work that waits, in plain words.
            again_in_s: Seconds until it is tried again.
        """
        self._refused += 1
        now = self._now()
        if self._said_at is not None and now - self._said_at < LOG_REPEAT_S:
            return
        self._said_at, self._is_said = now, True
        extra = {"work": work, "error": str(error), "refused": self._refused, "again_in_s": again_in_s}
        log.error("central database refuses writes", extra=extra)

    def note_success(self) -> None:
        """Note that something was written; reading proves nothing. Cheap to call often."""
        if self._is_said:
            log.warning("central database takes writes again", extra={"refused": self._refused})
        self._is_said, self._refused = False, 0
