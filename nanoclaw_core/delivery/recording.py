"""Writes of delivery states to the central database, which may refuse writes for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nanoclaw_core.store.connection import STORE_RETRY_S, CentralDatabaseFailed, central
from nanoclaw_core.store.outage import DatabaseOutage

T = TypeVar("T")


class Recording:
    """Repeats a write until the database accepts it, so that no message is sent twice (I4)."""

    def __init__(self, outage: DatabaseOutage, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._outage, self._sleep = outage, sleep
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
                self._outage.note_refusal("record deliveries", error, again_in_s=STORE_RETRY_S)
                if self._stops.is_set():
                    raise asyncio.CancelledError from error
            else:
                self._outage.note_success()
                return result
            await self._pause()

    async def _pause(self) -> None:
        waits = [asyncio.ensure_future(self._sleep(STORE_RETRY_S)), asyncio.ensure_future(self._stops.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
