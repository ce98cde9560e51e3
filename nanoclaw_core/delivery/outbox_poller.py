"""Outbox poller: when a runner rings, import the new rows of its outbound.db and pass them on.

Rings that arrive together cause one poll. Sessions take turns, with one poll for each turn of the event loop. A sandbox
that rings without writing, or with a file that is slow to read, is polled less often.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable

import apsw
from attrs import define
from nanoclaw_wire.session_files import NotARegularFile, WrongProtocol

from nanoclaw_core.delivery.outbox_importer import MAX_REPORTED_REFUSALS, ImportResult, OutboxImporter
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.events import HostEvents
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import NeedsRecovery
from nanoclaw_core.store.connection import STORE_RETRY_S, CentralDatabaseFailed
from nanoclaw_core.store.outage import DatabaseOutage

UNREADABLE = (apsw.Error, NotARegularFile, WrongProtocol, NeedsRecovery, ValueError, OSError)
BUSY_RETRY_S = 0.05
CLOSE_S = 1.0  # for running actions; the whole stop has 10 s
FREE_EMPTY_POLLS = 5  # empty polls without a pause: state changes and acknowledgements ring, too
PAUSE_S = 0.25  # after more empty polls than that
SLOW_POLL_CPU_S = 0.05  # an honest file takes at most a fifth of that
COOLDOWN_FACTOR = 4  # the cool-down after a slow poll is this many times its duration
MAX_BACKLOG = 2_000  # messages of one session on their way to working rooms, and its unfinished actions


@define
class _PollState:
    is_scheduled: bool = False
    empty_polls: int = 0
    not_before: float = 0.0  # the event loop's time


class OutboxPoller:
    """Moves messages from sessions into the delivery queues."""

    def __init__(
        self, importer: OutboxImporter, queues: DeliveryQueues, events: HostEvents, outage: DatabaseOutage
    ) -> None:
        self._importer, self._queues, self._events, self._outage = importer, queues, events, outage
        self._states: dict[SessionId, _PollState] = {}
        self._turns: deque[SessionId] = deque()
        self._tasks: dict[asyncio.Future[None], SessionId] = {}
        self._stops = asyncio.Event()

    def notify(self, session_id: SessionId) -> None:
        """Schedule a poll, because the session's runner rang. Cheap to call often."""
        state = self._states.setdefault(session_id, _PollState())
        if not state.is_scheduled:
            state.is_scheduled = True
            asyncio.get_running_loop().call_at(state.not_before, self._is_due, session_id)

    def poll(self, session_id: SessionId) -> bool:
        """Import one batch now; if more rows wait, schedule the next poll.

        Returns:
            False if the file cannot be read; the host's events received the reason.
        """
        result = self._import_next(session_id)
        if result is not None and result.has_more:
            self.notify(session_id)
        return result is not None

    async def drain(self, session_id: SessionId) -> bool:
        """Import all waiting rows; other sessions are polled in between.

        Returns:
            False if the file cannot be read, or if the host stops and cannot import now. The next host imports the
                rest.
        """
        while (result := self._import_next(session_id)) is not None and result.has_more:
            if result.is_blocked and self._stops.is_set():
                return False
            pause_s = max(0.0, self._states[session_id].not_before - asyncio.get_running_loop().time())
            if result.is_blocked:
                await self._stops_within(pause_s)
            else:
                await asyncio.sleep(pause_s)
        return result is not None

    def stop_waiting(self) -> None:
        """Let `drain` return if nothing can be imported, because the host stops."""
        self._stops.set()

    def forget(self, session_id: SessionId) -> None:
        """Drop the poll state of a session after the end of its sandbox."""
        self._states.pop(session_id, None)

    async def close(self) -> None:
        """Wait up to `CLOSE_S` for running actions, then cancel them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stops_within(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stops.wait()

    def _is_due(self, session_id: SessionId) -> None:
        self._turns.append(session_id)
        if len(self._turns) == 1:
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        session_id = self._turns.popleft()
        if self._turns:
            asyncio.get_running_loop().call_soon(self._next_turn)
        state = self._states.get(session_id)
        if state is not None:
            state.is_scheduled = False
            self.poll(session_id)

    def _import_next(self, session_id: SessionId) -> ImportResult | None:
        state, began = self._states.setdefault(session_id, _PollState()), time.thread_time()
        try:
            result = self._read(session_id)
        except CentralDatabaseFailed as error:
            self._outage.note_refusal("import messages", error, again_in_s=STORE_RETRY_S)
            state.not_before = asyncio.get_running_loop().time() + STORE_RETRY_S
            return ImportResult(has_more=True, is_blocked=True)  # the rows wait in the session's file
        if result is not None:
            self._pass_on(session_id, result)
            if result.queued or result.refused or result.requests:
                self._outage.note_success()
                state.empty_polls = 0
            else:
                state.empty_polls += 1
        cooldown_s = _cooldown_s(time.thread_time() - began, has_more=result is not None and result.has_more)
        state.not_before = asyncio.get_running_loop().time() + (
            PAUSE_S if state.empty_polls > FREE_EMPTY_POLLS else cooldown_s
        )
        return result

    def _read(self, session_id: SessionId) -> ImportResult | None:
        if self._queues.moving(session_id) + list(self._tasks.values()).count(session_id) >= MAX_BACKLOG:
            return ImportResult(has_more=True, is_blocked=True)  # the rows wait in the session's file
        try:
            return self._importer.import_next(session_id)
        except apsw.BusyError:
            asyncio.get_running_loop().call_later(BUSY_RETRY_S, self.notify, session_id)
            return ImportResult()
        except UNREADABLE as error:
            self._events.session_unreadable(session_id, f"{type(error).__name__}: {error}")
            return None

    def _pass_on(self, session_id: SessionId, result: ImportResult) -> None:
        self._queues.put(result.queued)
        for reason in result.refused[:MAX_REPORTED_REFUSALS]:
            self._spawn(session_id, self._events.message_refused(session_id, reason))
        for request in result.requests:
            self._spawn(session_id, self._events.action_requested(session_id, request))
        if result.is_idle:
            self._events.runner_idle(session_id)

    def _spawn(self, session_id: SessionId, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[task] = session_id
        task.add_done_callback(self._tasks.pop)


def _cooldown_s(took_s: float, *, has_more: bool) -> float:
    """Return the cool-down before the next poll of this session.

    It is the poll's own duration if rows are left, and four times that if the poll was suspiciously slow.
    """
    return took_s * (COOLDOWN_FACTOR if took_s > SLOW_POLL_CPU_S else has_more)
