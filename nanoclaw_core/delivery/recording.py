"""Writes of delivery states to the central database, which may refuse writes for a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from nanoclaw_untrusted.database_outage import DatabaseOutage

from nanoclaw_core.store.connection import CentralDatabaseFailed, central

T = TypeVar("T")


class Recording:
    """Repeats a write until the database accepts it, so that no message is sent twice (I4)."""

    def __init__(self, outage: DatabaseOutage, retry_s: float) -> None:
        self._outage, self._retry_s = outage, retry_s
        self._stops = asyncio.Event()

    def stop_waiting(self) -> None:
        """Let a failing write end its task instead of waiting, because the host stops."""
        self._stops.set()

    async def write(self, write: Callable[[], T]) -> T:
        """Repeat a write until the database accepts it, and return its result.

        Raises:
            asyncio.CancelledError: The host stops, and the write fails. The next host finds the earlier state.
            Exception: The row itself cannot be written, so waiting does not help.
        """
        while True:
            try:
                with central():
                    result = write()
            except CentralDatabaseFailed as error:
                self._outage.note_refusal("record deliveries", error, again_in_s=self._retry_s)
                if self._stops.is_set():
                    raise asyncio.CancelledError from error
            else:
                if self._outage.refused:
                    self._outage.note_success()
                return result
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stops.wait(), self._retry_s)
