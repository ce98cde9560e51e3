"""Decides when people hear of trouble that is still being got over, so that nobody waits in the dark for long."""

from __future__ import annotations

from nanoclaw_runner.pending_prompts import Prompt


class OutageNotice:
    """The trouble that the answer to one batch of messages is in. All times are seconds on one monotonic clock.

    Args:
        patience_s: OutageNotice that is over sooner is nobody's business.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._first_row: str | None = None  # a further try is another push of the same rows
        self._since = 0.0
        self._is_told = False

    def met(self, push: Prompt, *, now: float, lasts_until: float) -> bool:
        """Note that something failed and will be tried again; return True where people should hear of it, once.

        Args:
            lasts_until: When the next try comes.
        """
        if push.rows[0].id != self._first_row:
            self._first_row, self._since, self._is_told = push.rows[0].id, now, False
        if self._is_told or lasts_until - self._since < self._patience_s:
            return False
        self._is_told = True
        return True
