"""Typing indicator: shown at once, then every 4 s while the agent works."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeGuard

from nanoclaw_core.descriptors.channels import ShowsTyping
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import SessionId

# The indicator ends if the heartbeat is older than ALIVE_S after the first GRACE_S seconds.
REFRESH_S = 4.0
GRACE_S = 15.0
ALIVE_S = 6.0
PAUSE_S = 10.0


class TypingIndicator:
    """One refresh task per working session.

    Args:
        adapter: Returns the running adapter of a channel, or None.
        heartbeat_at: Returns the time of the last heartbeat of a session's runner in epoch seconds, or None.
        sleep: Waits for a number of seconds on the same clock as `now`; tests replace both.
    """

    def __init__(
        self,
        adapter: Callable[[str], object | None],
        heartbeat_at: Callable[[SessionId], float | None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._adapter, self._heartbeat_at, self._sleep, self._now = adapter, heartbeat_at, sleep, now
        self._tasks: dict[SessionId, asyncio.Task[None]] = {}
        self._paused_until: dict[SessionId, float] = {}

    def start(self, session_id: SessionId, address: Address) -> None:
        """Show the indicator now and keep refreshing it; a second call restarts its grace period."""
        self._paused_until.pop(session_id, None)
        self.stop(session_id)
        if _shows_typing(self._adapter(address.channel)):
            self._tasks[session_id] = asyncio.create_task(self._refresh(session_id, address))

    def is_shown(self, session_id: SessionId) -> bool:
        """Return True if the indicator is active for a session, even if it is paused."""
        return session_id in self._tasks

    def pause(self, session_id: SessionId) -> None:
        """Pause the indicator for `PAUSE_S`, because people just got a message."""
        if session_id in self._tasks:
            self._paused_until[session_id] = self._now() + PAUSE_S

    def stop(self, session_id: SessionId) -> None:
        """End the indicator of a session."""
        self._paused_until.pop(session_id, None)
        task = self._tasks.pop(session_id, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all indicators."""
        tasks = list(self._tasks.values())
        for session_id in list(self._tasks):
            self.stop(session_id)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refresh(self, session_id: SessionId, address: Address) -> None:
        started = self._now()
        while self._now() - started < GRACE_S or self._is_alive(session_id):
            adapter = self._adapter(address.channel)
            if _shows_typing(adapter) and self._now() >= self._paused_until.get(session_id, 0.0):
                with contextlib.suppress(*PLUGIN_ERRORS):  # only a hint to people; nothing depends on it
                    await adapter.show_typing(address)
            await self._sleep(REFRESH_S)
        self._tasks.pop(session_id, None)

    def _is_alive(self, session_id: SessionId) -> bool:
        at = self._heartbeat_at(session_id)
        return at is not None and time.time() - at < ALIVE_S


def _shows_typing(adapter: object | None) -> TypeGuard[ShowsTyping]:
    """Check for `show_typing`, because `isinstance` with a protocol is slow (Python 3.11)."""
    return callable(getattr(adapter, "show_typing", None))
