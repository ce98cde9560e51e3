"""Decides when people learn that an answer is late because its turn fails and is retried."""

from __future__ import annotations

from nanoclaw_runner.pending_prompts import Prompt


class OutageNotice:
    """The outage of the prompt that is retried now. All times are seconds of one monotonic clock.

    Args:
        delay_s: People learn nothing of an outage that is shorter.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._first_row: str | None = None  # a retry is another prompt over the same rows
        self._since = 0.0
        self._is_sent = False

    def is_due(self, prompt: Prompt, *, now: float, lasts_until: float) -> bool:
        """Record a failure that will be retried; return True if people must learn of it, once for each outage.

        The outage lasts at least until the next try, at `lasts_until`.
        """
        if prompt.rows[0].id != self._first_row:
            self._first_row, self._since, self._is_sent = prompt.rows[0].id, now, False
        if self._is_sent or lasts_until - self._since < self._delay_s:
            return False
        self._is_sent = True
        return True
