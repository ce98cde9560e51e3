"""Writing the states of deliveries to a central database that may take no writes for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nanoclaw_core.store.connection import STORE_AGAIN_S, CentralDatabaseFailed, central
from nanoclaw_core.store.outage import DatabaseOutage

T = TypeVar("T")


class Recording:
    """Repeats a write until the database takes it, so that nothing is overtaken or sent twice (I4)."""

    def __init__(self, outage: DatabaseOutage, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._outage, self._sleep = outage, sleep
        self._stops = asyncio.Event()

    def stop_waiting(self) -> None:
        """Let a write that fails now or later end its task instead of waiting: the host stops."""
        self._stops.set()

    async def write(self, write: Callable[[], T]) -> T:
        """Write once the database takes it, and return the result.

        Raises:
            asyncio.CancelledError: The host stops, and the write fails. The next host finds the state before it.
            Exception: The row itself cannot be written; no waiting helps.
        """
        while True:
            try:
                with central():
                    result = write()
            except CentralDatabaseFailed as error:
                self._outage.note_refusal("record deliveries", error, again_in_s=STORE_AGAIN_S)
                if self._stops.is_set():
                    raise asyncio.CancelledError from error
            else:
                self._outage.note_success()
                return result
            await self._pause()

    async def _pause(self) -> None:
        waits = [asyncio.ensure_future(self._sleep(STORE_AGAIN_S)), asyncio.ensure_future(self._stops.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
