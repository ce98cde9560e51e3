"""Slots: they limit how many sandboxes run. A slot is for a sandbox that works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from nanoclaw_core.ids import SessionId
from nanoclaw_core.sandboxes.running import Running

WAIT_NOTICE_S = 10.0  # an idle sandbox gives its slot up within a few seconds, and people need not hear of that


class Slots:
    """Limit the number of sandboxes. Grant free slots in the order of waiting.

    Args:
        wanted: Called when a conversation begins to wait.
    """

    def __init__(self, count: int, wanted: Callable[[], None]) -> None:
        self._free, self._wanted = count, wanted
        self._waiting: dict[SessionId, asyncio.Future[None]] = {}

    @property
    def waiting(self) -> list[SessionId]:
        """The conversations that wait for a slot, the first one first."""
        return list(self._waiting)

    @contextlib.asynccontextmanager
    async def held(
        self, session_id: SessionId, while_waiting: Callable[[], Coroutine[Any, Any, None]]
    ) -> AsyncIterator[None]:
        """Hold a slot for a block.

        Args:
            while_waiting: Runs as long as no slot is free; cancelled once there is one.
        """
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(session_id, while_waiting)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, session_id: SessionId, while_waiting: Callable[[], Coroutine[Any, Any, None]]) -> None:
        granted = self._waiting[session_id] = asyncio.get_running_loop().create_future()
        telling = asyncio.create_task(while_waiting())
        try:
            self._wanted()
            await granted
        except asyncio.CancelledError:
            self._waiting.pop(session_id, None)
            if granted.done() and not granted.cancelled():
                self._release()  # it was granted in the same moment
            raise
        finally:
            telling.cancel()

    def _release(self) -> None:
        while self._waiting:
            granted = self._waiting.pop(next(iter(self._waiting)))
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1


def idle_to_end(running: dict[SessionId, Running], waiting: int) -> list[SessionId]:
    """Return the sandboxes to end so that conversations that wait get their slots, the longest idle first.

    Args:
        waiting: How many conversations wait.
    """
    ending = sum(bool(one.ending) for one in running.values())
    idle = [
        (one.idle_since, session_id)
        for session_id, one in running.items()
        if one.idle_since is not None and not one.ending
    ]
    return [session_id for _, session_id in sorted(idle)][: max(0, waiting - ending)]
