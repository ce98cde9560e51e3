"""Typing indicator: shown at once, then again and again while the agent works."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TypeGuard

from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core.descriptors.channels import ShowsTyping
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import OutboxReader
from nanoclaw_core.timing import Timing


class TypingIndicator:
    """One refresh task per working session.

    The indicator ends without a fresh heartbeat of the session's runner, but not in the grace time after its start.
    """

    def __init__(self, adapters: Mapping[str, object], outbox: OutboxReader, timing: Timing) -> None:
        self._adapters, self._outbox, self._timing = adapters, outbox, timing
        self._tasks = TaskSet()
        self._shown: dict[SessionId, asyncio.Task[None]] = {}
        self._paused_until: dict[SessionId, float] = {}

    def start(self, session_id: SessionId, address: Address) -> None:
        """Show the indicator now and keep refreshing it; a second call restarts its grace period."""
        self.stop(session_id)
        adapter = self._adapters.get(address.channel)
        if _shows_typing(adapter):
            self._shown[session_id] = self._tasks.spawn(self._refresh(session_id, address, adapter))

    def pause(self, session_id: SessionId) -> None:
        """Pause the indicator for a moment, because people just got a message."""
        if session_id in self._shown:
            self._paused_until[session_id] = asyncio.get_running_loop().time() + self._timing.typing_pause_s

    def stop(self, session_id: SessionId) -> None:
        """End the indicator of a session."""
        self._paused_until.pop(session_id, None)
        task = self._shown.pop(session_id, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all indicators."""
        await self._tasks.close(self._timing.cancel_s)

    async def _refresh(self, session_id: SessionId, address: Address, adapter: ShowsTyping) -> None:
        loop, timing = asyncio.get_running_loop(), self._timing
        grace_ends = loop.time() + timing.typing_grace_s
        while loop.time() < grace_ends or self._is_alive(session_id):
            if loop.time() >= self._paused_until.get(session_id, 0.0):
                with contextlib.suppress(*PLUGIN_ERRORS):  # only a hint to people; nothing depends on it
                    await adapter.show_typing(address)
            await asyncio.sleep(timing.typing_refresh_s)
        self._shown.pop(session_id, None)
        self._paused_until.pop(session_id, None)

    def _is_alive(self, session_id: SessionId) -> bool:
        at = self._outbox.heartbeat_at(session_id)
        return at is not None and time.time() - at < self._timing.typing_alive_s


def _shows_typing(adapter: object | None) -> TypeGuard[ShowsTyping]:
    """Check for `show_typing`, because `isinstance` with a protocol is slow (Python 3.11)."""
    return callable(getattr(adapter, "show_typing", None))
