"""A sandbox that runs, and the slots that bound how many do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from typing import Any

from attrs import define, field
from nanoclaw_wire import clock
from nanoclaw_wire.doorbell import Bell
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM

from nanoclaw_core.descriptors.runtimes import Sandbox
from nanoclaw_core.ids import SessionId

WAIT_TOLD_S = 10.0  # an idle sandbox gives its slot up within a few seconds, and people need not hear of that
ALL_BUSY = "All agents are busy with other conversations. Your message is kept, and answered when one of them is free."


@define
class Running:
    """A sandbox that runs.

    Args:
        ending: Why the host ends it; empty while it does not.
        blames_messages: True where its end counts as a failed try of what it was working on.
        is_drained: False where the last look at what it wrote failed.
        ignored: Messages it had not taken at the last sweep, with the time of the first one that found them so.
        idle_since: When its runner said that it has nothing to do, by the event loop's clock; None while it works.
    """

    sandbox: Sandbox
    bell: Bell
    runtime: str
    provider: str
    started_at: datetime = field(factory=clock.now)
    ending: str = ""
    blames_messages: bool = True
    is_drained: bool = True
    ignored: dict[str, datetime] = field(factory=dict)
    idle_since: float | None = None

    def is_failed_try(self, exit_code: int) -> bool:
        """Return True if its end is a failed try of what it worked on; a machine without room is no fault of that."""
        return self.blames_messages if self.ending else exit_code not in (0, EXIT_NO_ROOM)


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
