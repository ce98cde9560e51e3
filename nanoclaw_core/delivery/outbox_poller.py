"""Outbox poller: when a runner rings, import the new rows of its outbound.db and pass them on.

Rings that arrive together cause one poll. Sessions take turns, with one poll for each turn of the event loop. A sandbox
that rings without writing, or with a file that is slow to read, is polled less often.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import apsw
from attrs import define, field
from nanoclaw_untrusted.database_outage import DatabaseOutage
from nanoclaw_wire.log_lines import describe
from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core import logs
from nanoclaw_core.delivery.outbox_importer import MAX_REPORTED_REFUSALS, ImportResult, OutboxImporter
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.events import HostEvents
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import UNREADABLE
from nanoclaw_core.store.connection import CentralDatabaseFailed
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)
FREE_EMPTY_POLLS = 5  # empty polls without a pause: state changes and acknowledgements ring, too
SLOW_POLL_CPU_S = 0.05  # an honest file takes at most a fifth of that
COOLDOWN_FACTOR = 4  # the cool-down after a slow poll is this many times its duration
MAX_BACKLOG = 2_000  # messages of one session on their way to working rooms, and its unfinished actions
MAX_RUNNING_REQUESTS = 4  # of one session; more wait for their turn, so that none can make all others wait for it


@define
class _PollState:
    is_scheduled: bool = False
    empty_polls: int = 0
    not_before: float = 0.0  # the event loop's time
    slots: asyncio.Semaphore = field(factory=partial(asyncio.Semaphore, MAX_RUNNING_REQUESTS))


class OutboxPoller:
    """Moves messages from sessions into the delivery queues."""

    def __init__(
        self,
        importer: OutboxImporter,
        queues: DeliveryQueues,
        events: HostEvents,
        outage: DatabaseOutage,
        timing: Timing,
    ) -> None:
        self._importer, self._queues, self._events, self._outage = importer, queues, events, outage
        self._timing = timing
        self._states: dict[SessionId, _PollState] = {}
        self._turns: deque[SessionId] = deque()
        self._tasks = TaskSet()
        self._unfinished: Counter[SessionId] = Counter()  # tasks of each session
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
        """Wait a limited time for running actions, then cancel them."""
        await self._tasks.wait(self._timing.actions_close_s)
        await self._tasks.close(self._timing.cancel_s)

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
        loop, state = asyncio.get_running_loop(), self._states.setdefault(session_id, _PollState())
        began = time.thread_time()
        # Unless something is imported, the rows wait in the session's file.
        result: ImportResult | None = ImportResult(has_more=True, is_blocked=True)
        try:
            if self._queues.backlog.moving[session_id] + self._unfinished[session_id] < MAX_BACKLOG:
                with logs.context(session=session_id):
                    result = self._importer.import_next(session_id)
        except CentralDatabaseFailed as error:
            self._outage.note_refusal("import messages", error, again_in_s=self._timing.store_retry_s)
            state.not_before = loop.time() + self._timing.store_retry_s
            return result
        except apsw.BusyError:
            loop.call_later(self._timing.busy_retry_s, self.notify, session_id)
            result = ImportResult()
        except UNREADABLE as error:
            self._events.session_unreadable(session_id, f"{type(error).__name__}: {error}")
            result = None
        if result is not None:
            self._queues.append(result.queued)
            for reason in result.refused[:MAX_REPORTED_REFUSALS]:
                self._spawn(session_id, self._events.message_refused(session_id, reason))
            for reason in result.exceeded:
                self._spawn(session_id, self._events.budget_exceeded(session_id, reason))
            for request in result.requests:
                self._spawn(session_id, _run(state.slots, partial(self._events.action_requested, session_id, request)))
            has_rows = bool(result.queued or result.refused or result.requests)
            if has_rows and self._outage.refused:
                self._outage.note_success()
            state.empty_polls = 0 if has_rows else state.empty_polls + 1
            if result.finished is not None:
                self._events.runner_idle(session_id, result.finished)
        # The cool-down of this session is its poll's own duration if rows are left, and longer after a slow poll.
        took_s, has_more = time.thread_time() - began, result is not None and result.has_more
        cooldown_s = COOLDOWN_FACTOR * took_s if took_s > SLOW_POLL_CPU_S else took_s if has_more else 0.0
        is_empty = state.empty_polls > FREE_EMPTY_POLLS
        state.not_before = loop.time() + max(self._timing.empty_poll_pause_s if is_empty else 0.0, cooldown_s)
        return result

    def _spawn(self, session_id: SessionId, work: Coroutine[Any, Any, None]) -> None:
        self._unfinished[session_id] += 1
        self._tasks.spawn(work).add_done_callback(partial(self._finished, session_id))

    def _finished(self, session_id: SessionId, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("row not processed", extra=describe(error) | {"session": session_id})
        self._unfinished[session_id] -= 1
        if not self._unfinished[session_id]:
            del self._unfinished[session_id]


async def _run(slots: asyncio.Semaphore, request: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async with slots:
        await request()
        await asyncio.sleep(0)  # a request that never waited must not let the next one start in the same turn
