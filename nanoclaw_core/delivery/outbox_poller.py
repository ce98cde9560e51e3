"""The outbox_poller: when a runner rings, look into its file and pass on what is there.

Rings are joined, and sessions take turns: one look a turn of the event loop. A sandbox that rings without writing, or
whose file takes long to look into, is looked at more slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import apsw
from attrs import define, field, frozen
from nanoclaw_wire.content import ActionRequest
from nanoclaw_wire.session_files import NotARegularFile, WrongProtocol

from nanoclaw_core.delivery.outbox_importer import REFUSALS_TOLD, ImportResult, OutboxImporter
from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.outbox import NeedsItsRunner
from nanoclaw_core.store.connection import STORE_AGAIN_S, CentralDatabaseFailed
from nanoclaw_core.store.outage import DatabaseOutage

UNREADABLE = (apsw.Error, NotARegularFile, WrongProtocol, NeedsItsRunner, ValueError, OSError)
BUSY_AGAIN_S = 0.05
CLOSE_S = 1.0  # for actions that run; all of a stop has 10 s
FREE_EMPTY_POLLS = 5  # rings without news that cost nothing: state changes and acknowledgements ring, too
PAUSE_S = 0.25  # after more empty_polls looks than that
SLOW_POLL_CPU_S = 0.05  # an honest one takes a fifth of that at most
COOLDOWN_FACTOR = 4  # times as long as a long look took
MAX_BACKLOG = 2_000  # messages of one session on their way to rooms that work, and actions that are not finished


@frozen(kw_only=True)
class OutboxHandlers:
    """What the pump hands things to.

    Args:
        refused: A message of a session was refused, with the reason.
        requested: A runner asks for an action.
        idle: A session's runner has no turn open, and everything it wrote was queued.
        broken: A session's outbound side cannot be read, with the reason.
        outage: Logs that the central database takes no writes; shared by all parts of a host.
    """

    refused: Callable[[SessionId, str], Awaitable[None]]
    requested: Callable[[SessionId, ActionRequest], Awaitable[None]]
    idle: Callable[[SessionId], None]
    broken: Callable[[SessionId, str], None]
    outage: DatabaseOutage = field(factory=DatabaseOutage)


@define
class _PollState:
    is_scheduled: bool = False
    empty_polls: int = 0
    not_before: float = 0.0  # the event loop's time


class OutboxPoller:
    """Moves messages from sessions into the lanes."""

    def __init__(self, importer: OutboxImporter, queues: DeliveryQueues, handlers: OutboxHandlers) -> None:
        self._importer, self._queues, self._handlers = importer, queues, handlers
        self._states: dict[SessionId, _PollState] = {}
        self._turns: deque[SessionId] = deque()
        self._tasks: dict[asyncio.Future[None], SessionId] = {}
        self._stops = asyncio.Event()

    def notify(self, session_id: SessionId) -> None:
        """A runner rang: look soon. Cheap to call often."""
        state = self._states.setdefault(session_id, _PollState())
        if not state.is_scheduled:
            state.is_scheduled = True
            asyncio.get_running_loop().call_at(state.not_before, self._is_due, session_id)

    def poll(self, session_id: SessionId) -> bool:
        """Look now, and pass on what one look takes; the rest follows by itself.

        Returns:
            False where the file cannot be read; the reason was passed on.
        """
        taken = self._take(session_id)
        if taken is not None and taken.has_more:
            self.notify(session_id)
        return taken is not None

    async def drain(self, session_id: SessionId) -> bool:
        """Pass on everything that is there, others taking their turns in between.

        Returns:
            False if the file cannot be read, or if the host stops and cannot import now. The next host imports the
                rest.
        """
        while (taken := self._take(session_id)) is not None and taken.has_more:
            if taken.is_blocked and self._stops.is_set():
                return False
            pause_s = max(0.0, self._states[session_id].not_before - asyncio.get_running_loop().time())
            if taken.is_blocked:
                await self._stops_within(pause_s)
            else:
                await asyncio.sleep(pause_s)
        return taken is not None

    def stop_waiting(self) -> None:
        """Let `drain` return if nothing can be imported now or later: the host stops."""
        self._stops.set()

    def forget(self, session_id: SessionId) -> None:
        """The session's sandbox is gone."""
        self._states.pop(session_id, None)

    async def close(self) -> None:
        """Wait for actions that run, briefly, and end them."""
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

    def _take(self, session_id: SessionId) -> ImportResult | None:
        state, began = self._states.setdefault(session_id, _PollState()), time.thread_time()
        try:
            taken = self._read(session_id)
        except CentralDatabaseFailed as error:
            self._handlers.outage.note_refusal("import messages", error, again_in_s=STORE_AGAIN_S)
            state.not_before = asyncio.get_running_loop().time() + STORE_AGAIN_S
            return ImportResult(has_more=True, is_blocked=True)  # what it wrote waits in its own file meanwhile
        if taken is not None:
            self._pass_on(session_id, taken)
            if taken.queued or taken.refused or taken.requests:
                self._handlers.outage.note_success()
                state.empty_polls = 0
            else:
                state.empty_polls += 1
        rest_s = _cooldown_s(time.thread_time() - began, has_more=taken is not None and taken.has_more)
        state.not_before = asyncio.get_running_loop().time() + (
            PAUSE_S if state.empty_polls > FREE_EMPTY_POLLS else rest_s
        )
        return taken

    def _read(self, session_id: SessionId) -> ImportResult | None:
        if self._queues.moving(session_id) + list(self._tasks.values()).count(session_id) >= MAX_BACKLOG:
            return ImportResult(has_more=True, is_blocked=True)  # what it wrote waits in its own file meanwhile
        try:
            return self._importer.look(session_id)
        except apsw.BusyError:
            asyncio.get_running_loop().call_later(BUSY_AGAIN_S, self.notify, session_id)
            return ImportResult()
        except UNREADABLE as error:
            self._handlers.broken(session_id, f"{type(error).__name__}: {error}")
            return None

    def _pass_on(self, session_id: SessionId, taken: ImportResult) -> None:
        self._queues.put(taken.queued)
        for reason in taken.refused[:REFUSALS_TOLD]:
            self._spawn(session_id, self._handlers.refused(session_id, reason))
        for request in taken.requests:
            self._spawn(session_id, self._handlers.requested(session_id, request))
        if taken.is_idle:
            self._handlers.idle(session_id)

    def _spawn(self, session_id: SessionId, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks[task] = session_id
        task.add_done_callback(self._tasks.pop)


def _cooldown_s(took_s: float, *, has_more: bool) -> float:
    """Say how long others have their turns after a look: as long as one took that did not reach the end, and longer
    after one that no honest file needs."""
    return took_s * (COOLDOWN_FACTOR if took_s > SLOW_POLL_CPU_S else has_more)
