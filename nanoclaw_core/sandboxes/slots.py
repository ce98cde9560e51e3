"""Slots limit the number of running sandboxes.

An idle sandbox gives its slot to a waiting conversation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from nanoclaw_core.ids import SessionId
from nanoclaw_core.sandboxes.running import Running


class Slots:
    """A limited number of slots, granted in the order of the requests.

    Args:
        wanted: Called if a conversation begins to wait.

    Attributes:
        waiting: The conversations that wait for a slot, oldest first.
    """

    def __init__(self, count: int, wanted: Callable[[], None]) -> None:
        self._free, self._wanted = count, wanted
        self.waiting: dict[SessionId, asyncio.Future[None]] = {}

    @contextlib.asynccontextmanager
    async def held(
        self, session_id: SessionId, while_waiting: Callable[[], Coroutine[Any, Any, None]]
    ) -> AsyncIterator[None]:
        """Hold a slot during a `with` block.

        `while_waiting` runs while no slot is free, and is cancelled then.
        """
        if self._free and not self.waiting:
            self._free -= 1
        else:
            await self._wait(session_id, while_waiting)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, session_id: SessionId, while_waiting: Callable[[], Coroutine[Any, Any, None]]) -> None:
        granted = self.waiting[session_id] = asyncio.get_running_loop().create_future()
        announcement = asyncio.create_task(while_waiting())
        try:
            self._wanted()
            await granted
        except asyncio.CancelledError:
            self.waiting.pop(session_id, None)
            if granted.done() and not granted.cancelled():
                self._release()  # the slot was granted at the same moment
            raise
        finally:
            announcement.cancel()

    def _release(self) -> None:
        while self.waiting:
            granted = self.waiting.pop(next(iter(self.waiting)))
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1


def idle_to_end(running: dict[SessionId, Running], waiting: int) -> list[SessionId]:
    """Return the idle sandboxes to stop for waiting conversations, longest idle first."""
    ending = sum(bool(sandbox.ending) for sandbox in running.values())
    idle = [
        (sandbox.idle_since, session_id)
        for session_id, sandbox in running.items()
        if sandbox.idle_since is not None and not sandbox.ending
    ]
    return [session_id for _, session_id in sorted(idle)][: max(0, waiting - ending)]
