"""Log lines about a central database that refuses writes: a few for the whole host."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)
LOG_REPEAT_S = 60.0


class DatabaseOutage:
    """Logs that the central database refuses writes, and that it works again.

    All components of a host share one instance. Each retries every few seconds for each session and room, so a line for
    each retry would fill the log. An outage gets one line at its start, at most one a minute after that, and one at its
    end.

    Args:
        now: A clock in seconds that never goes back; tests pass their own.

    Attributes:
        refused: The number of refused writes since the last successful one.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._logged_at: float | None = None
        self._is_logged = False
        self.refused = 0

    def note_refusal(self, work: str, error: BaseException, *, again_in_s: float) -> None:
        """Record a refused write.

        Args:
            work: A short name of the waiting work.
            error: The error of the database.
            again_in_s: Seconds until the next attempt.
        """
        self.refused += 1
        now = self._now()
        if self._logged_at is not None and now - self._logged_at < LOG_REPEAT_S:
            return
        self._logged_at, self._is_logged = now, True
        extra = {"work": work, "error": str(error), "refused": self.refused, "again_in_s": again_in_s}
        log.error("central database refuses writes", extra=extra)

    def note_success(self) -> None:
        """Record a successful write; a successful read proves nothing.

        Cheap to call often.
        """
        if self._is_logged:
            log.warning("central database accepts writes again", extra={"refused": self.refused})
        self._is_logged, self.refused = False, 0
