"""The supervisor: one sandbox for each session with work, and none for the others.

Invariants kept here:
I5   A restart starts the new sandbox only after the old one has ended.
I12  People read of failures in plain words; the log has the details.
Several wakes of a session start one sandbox. Starts wait for a free slot in the order of their requests. A failure of
one session does not affect another (⚠25).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial

import apsw
from attrs import define, field
from nanoclaw_untrusted.database_outage import DatabaseOutage
from nanoclaw_wire import clock
from nanoclaw_wire.doorbell import DoorbellServer
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM, is_exhausted
from nanoclaw_wire.inbound import NewInbound
from nanoclaw_wire.log_lines import describe
from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core import logs
from nanoclaw_core.delivery.notifier import Notifier, note_row
from nanoclaw_core.delivery.outbox_poller import OutboxPoller
from nanoclaw_core.delivery.status_display import StatusDisplay
from nanoclaw_core.descriptors.sandboxes import SandboxExit
from nanoclaw_core.errors import PLUGIN_ERRORS, SandboxRefused
from nanoclaw_core.events import HostEvents
from nanoclaw_core.ids import SessionId, UserId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.mailbox.outbox import UNREADABLE, NeedsRecovery
from nanoclaw_core.sandboxes.claims import claim_of, share_of
from nanoclaw_core.sandboxes.health import pause_before_start
from nanoclaw_core.sandboxes.launcher import SandboxLauncher
from nanoclaw_core.sandboxes.notices import MESSAGE_KEPT, NOT_NOW, Notices, waiting_text
from nanoclaw_core.sandboxes.running import Running
from nanoclaw_core.sandboxes.slots import Slots, Wait, idle_to_end
from nanoclaw_core.sandboxes.tries import Tries
from nanoclaw_core.settings import CoreSettings
from nanoclaw_core.store import sessions
from nanoclaw_core.store.connection import CentralDatabaseFailed
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)
LONGEST_LIFE = "it reached the longest life"
MAX_UNREADABLE_RUNS = 3  # runners that get the chance to repair their file


@define(kw_only=True, eq=False)
class Supervisor:
    """Starts, watches and ends sandboxes.

    Args:
        ready: Set once the sandboxes of an earlier host have ended; until then no sandbox starts.
    """

    db: apsw.Connection
    mailbox: Mailbox
    launcher: SandboxLauncher
    outbox_poller: OutboxPoller
    notifier: Notifier
    status: StatusDisplay
    core: CoreSettings
    outage: DatabaseOutage
    events: HostEvents
    ready: asyncio.Event
    timing: Timing
    running: dict[SessionId, Running] = field(factory=dict, init=False)
    slots: Slots = field(init=False)
    _tasks: TaskSet = field(factory=TaskSet, init=False)
    _supervisions: dict[SessionId, asyncio.Task[None]] = field(factory=dict, init=False)
    _to_repeat: set[SessionId] = field(factory=set, init=False)
    _notices: Notices = field(init=False)
    _tries: Tries = field(init=False)
    _failed_starts: Counter[SessionId] = field(factory=Counter, init=False)
    _unreadable_runs: Counter[SessionId] = field(factory=Counter, init=False)
    _cut_turns: Counter[SessionId] = field(factory=Counter, init=False)
    _draining: set[SessionId] = field(factory=set, init=False)
    _suspected_damage: dict[SessionId, str] = field(factory=dict, init=False)
    _stopped_sessions: set[SessionId] = field(factory=set, init=False)
    _is_closing: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.slots = Slots(self.core.max_sandboxes, self.running, self._make_room)
        self._notices = Notices(mailbox=self.mailbox, notifier=self.notifier)
        self._tries = Tries(mailbox=self.mailbox, notices=self._notices, first_pause_s=self.core.retry_pause_s)

    def wake(
        self, session_id: SessionId, *, for_people: bool = True, person: UserId | None = None, pause_s: float = 0.0
    ) -> None:
        """Ensure that a sandbox of a session runs or starts; return at once.

        `for_people` is True if a person wrote: then an earlier notice about a missing answer is sent again. The slot
        of an idle sandbox counts for this `person` from now on. If that exceeds a share, the sandbox stops first. With
        a `pause_s` no sandbox of a stopped session starts for that time. The next sweep wakes it if a message waits.
        """
        if self._is_closing:
            return
        if for_people:
            self._notices.repeat(session_id)
        may_work = self.slots.assign(session_id, person, is_owner=person in self.core.owners)
        current = self.running.get(session_id)
        if current is not None and (may_work or current.ending):
            current.idle_since = None
            current.bell.ring()
        elif current is not None:
            self._tasks.spawn(self._end(session_id, "its conversation waits for a slot again"))
        if session_id not in self._supervisions:
            # A context of its own: the caller's log values do not apply to the whole run of the sandbox.
            self._supervisions[session_id] = self._tasks.spawn(self._supervise(session_id, pause_s), context=Context())

    def note_idle(self, session_id: SessionId) -> None:
        """Note that a session's runner is idle, so that another conversation may get its slot."""
        current = self.running.get(session_id)
        if current is not None and current.idle_since is None:
            current.idle_since = asyncio.get_running_loop().time()
            self._cut_turns.pop(session_id, None)
            if current.is_expired:
                self._tasks.spawn(self._end(session_id, LONGEST_LIFE))
        self.slots.serve()

    def ring(self, session_id: str) -> None:
        """Ring a session's runner, if one runs, so that it reads its inbox."""
        current = self.running.get(SessionId(session_id))
        if current is not None:
            current.bell.ring()

    async def stop(self, session_id: SessionId, reason: str, *, counts_as_failure: bool = False) -> None:
        """Stop a session's sandbox, if one runs, and wait for its end.

        `counts_as_failure` is True if the sandbox was stuck: its claimed messages then have one more failed try.
        """
        current = self.running.get(session_id)
        if current is None:
            return
        current.ending, current.counts_as_failure = reason, counts_as_failure
        log.info("stopping sandbox", extra={"session": session_id, "reason": reason})
        try:
            await current.sandbox.stop(self.timing.stop_grace_s)
        except BaseException:
            current.ending = ""  # it still runs, and a later call stops it
            raise

    async def stop_session(self, session_id: SessionId, reason: str) -> None:
        """Stop a session's sandbox and its supervision, and wait for the end of both."""
        if (task := self._supervisions.get(session_id)) is None:
            return
        self._stopped_sessions.add(session_id)
        await asyncio.sleep(0)  # a task that is cancelled before its first step never runs its `finally`
        if session_id in self.running:
            await self.stop(session_id, reason)
        else:
            task.cancel()
        await asyncio.wait([task])

    async def restart(self, session_id: SessionId, note: str | None) -> None:
        """Stop a session's sandbox and start a fresh one, which alone can read the note (I5).

        If the note is None, no fresh sandbox starts; the next message does that.
        """
        if note is not None:
            await self._append_note(session_id, note_row(note, wakes=True, on_wake=True))
        await self.stop(session_id, "restart")
        if note is not None:
            self.wake(session_id)

    async def note_to_agent(self, session_id: SessionId, text: str) -> None:
        """Leave a note for a session's agent and wake it; do nothing if the session is closed."""
        if sessions.get_active(self.db, session_id) is not None:
            await self._append_note(session_id, note_row(text, wakes=True))
            self.wake(session_id)

    async def _append_note(self, session_id: SessionId, note: NewInbound) -> None:
        self.mailbox.due.mark(session_id)
        await self.mailbox.inbox.append(session_id, [note])

    async def close(self) -> None:
        """Stop all sandboxes concurrently. Unanswered messages stay pending for the next host.

        If a sandbox does not end in time, because its engine does not answer, the next host reaps it.
        """
        self._is_closing = True
        for session_id, task in self._supervisions.items():
            if session_id not in self.running:
                task.cancel()
        for session_id in self.running:
            self._tasks.spawn(self._end(session_id, "the host stops"))
        await self._tasks.wait(self.timing.sandboxes_close_s)
        await self._tasks.close(self.timing.cancel_s)

    async def _end(self, session_id: SessionId, reason: str, *, counts_as_failure: bool = False) -> None:
        try:
            await self.stop(session_id, reason, counts_as_failure=counts_as_failure)
        except PLUGIN_ERRORS:  # error boundary: a sandbox that cannot be stopped must not keep the others running
            log.exception("sandbox could not be stopped", extra={"session": session_id})

    async def _supervise(self, session_id: SessionId, first_pause_s: float) -> None:
        """Run sandboxes one after the other as long as the session has work."""
        with logs.context(session=session_id):
            try:
                if first_pause_s:
                    await asyncio.sleep(first_pause_s)
                    return
                if not self.ready.is_set():
                    self.status.show(session_id, "stopping sandboxes of the previous host")
                await self.ready.wait()
                while not self._is_closing:
                    pause_s = await self._run_guarded(session_id)
                    if pause_s is None or session_id in self._stopped_sessions:
                        break
                    await asyncio.sleep(pause_s)
            finally:
                self._supervisions.pop(session_id, None)
                self._stopped_sessions.discard(session_id)
                self.status.clear(session_id)

    async def _run_guarded(self, session_id: SessionId) -> float | None:
        """Run one sandbox; the session's task survives every error (⚠25)."""
        try:
            return await self._run_or_back_off(session_id)
        except PLUGIN_ERRORS as error:  # error boundary: handling an error can fail too, for example on a full disk
            log.error("session could not be supervised", extra=describe(error))
            return self._failure_pause(session_id)

    async def _run_or_back_off(self, session_id: SessionId) -> float | None:
        """Run one sandbox; return the seconds before the next one, or None if none is needed now."""
        try:
            claim = claim_of(self.db, self.mailbox, session_id, self.core.owners)
            async with self.slots.hold(session_id, claim, partial(self._announce_wait, session_id)):
                try:
                    has_run = await self._run_sandbox(session_id)
                finally:
                    self._draining.discard(session_id)
            return await self._next_delay(session_id) if has_run else None
        except SandboxRefused as refusal:
            log.error("sandbox refused", extra={"reason": str(refusal)})
            self._notices.send(session_id, f"{refusal.for_people} {MESSAGE_KEPT}", reason=str(refusal))
            return None  # the messages stay, and the next wake or sweep tries again
        except PLUGIN_ERRORS as error:  # error boundary: a failure of one session must not affect another (⚠25)
            if await self.events.diagnose(session_id, ""):
                return None
            return await self._start_failed(session_id, error)

    async def _announce_wait(self, session_id: SessionId, wait: Wait) -> None:
        self.status.show(session_id, f"waiting for a slot: {wait.reason.value}")
        await asyncio.sleep(self.timing.slot_notice_s)
        log.warning("a conversation waits for a slot", extra={"reason": wait.reason.value, "person": wait.claim.person})
        while True:  # people who write meanwhile get the notice too
            self._notices.send(session_id, waiting_text(wait.reason, share_of(self.core.max_sandboxes)))
            await asyncio.sleep(self.timing.slot_notice_s)

    def _make_room(self, wanted: int) -> None:
        """Stop sandboxes for a number of waiting conversations."""
        share = share_of(self.core.max_sandboxes)
        for session_id in idle_to_end(self.running, self.slots.held, share, wanted - len(self._draining)):
            self._tasks.spawn(self._end(session_id, "another conversation needs its slot"))

    async def _limit_life(self, session_id: SessionId, current: Running) -> None:
        """Stop a sandbox after the longest life, once it is idle or has had its grace. Nothing inside can stretch it.

        The first turn that is cut is tried again. If further ones of a session follow, each counts as a failed try.
        """
        await asyncio.sleep(self.core.max_life_s)
        while True:  # an engine may fail to stop it
            if current.is_expired and current.idle_since is None:
                self._cut_turns[session_id] += 1
            if current.is_expired or current.idle_since is not None:
                is_failure = self._cut_turns[session_id] > 1
                self._tasks.spawn(self._end(session_id, LONGEST_LIFE, counts_as_failure=is_failure))
            current.is_expired = True
            await asyncio.sleep(self.timing.life_grace_s)

    async def _next_delay(self, session_id: SessionId) -> float | None:
        """Return the seconds before the session's next sandbox, or None if none is needed."""
        damage = self._suspected_damage.pop(session_id, None)
        if self._is_closing or session_id in self._stopped_sessions:
            return None
        if session_id not in self._to_repeat:
            self._failed_starts.pop(session_id, None)
            self._unreadable_runs.pop(session_id, None)
        is_unrepairable = self._unreadable_runs[session_id] >= MAX_UNREADABLE_RUNS
        if damage is not None and await self.events.diagnose(session_id, damage if is_unrepairable else ""):
            return None
        due_at = self.mailbox.update_due(session_id)
        if session_id in self._to_repeat:
            self._to_repeat.discard(session_id)
            if self._failed_starts[session_id] > MAX_UNREADABLE_RUNS:  # killed each time, which is not damage
                self._notices.send(session_id, NOT_NOW, reason="its sandboxes ended before they could work")
            return self._failure_pause(session_id)
        if due_at is None:
            return None
        wait_s = (clock.from_text(due_at) - clock.now()).total_seconds()
        return max(0.0, wait_s) if wait_s <= self.timing.timer_limit_s else None

    async def _run_sandbox(self, session_id: SessionId) -> bool:
        """Start a sandbox and wait for its end; return False if the session is closed."""
        session = sessions.get_active(self.db, session_id)
        if session is None:
            self.mailbox.due.update(session_id, None)
            return False
        self.status.show(session_id, "starting a sandbox")
        current = await self.launcher.start(session)
        self.running[session_id] = current
        self.slots.serve()
        self.status.show(session_id, "the agent is at work")
        poll = asyncio.create_task(self._poll_until_connected(session_id, current.bell))
        life = asyncio.create_task(self._limit_life(session_id, current))
        try:
            ended = await current.sandbox.wait()
        finally:
            poll.cancel()
            life.cancel()
            del self.running[session_id]
            self._draining.add(session_id)
            await self._drain(session_id, current)
        await self._finish_run(session_id, current, ended)
        return True

    async def _poll_until_connected(self, session_id: SessionId, bell: DoorbellServer) -> None:
        """Poll until a runner connects, because some machines cannot share the doorbell."""
        while not bell.connected:
            await asyncio.sleep(self.timing.fallback_poll_s)
            self.outbox_poller.poll(session_id)

    async def _drain(self, session_id: SessionId, current: Running) -> None:
        await self.launcher.close_io(session_id, current.bell)
        # Deliver its last messages now, not at the next sweep (⚠24).
        current.is_drained = await self.outbox_poller.drain(session_id)
        self.outbox_poller.forget(session_id)

    async def _finish_run(self, session_id: SessionId, current: Running, ended: SandboxExit) -> None:
        """Record the results of a sandbox, and count a failed try of its messages if it died."""
        died = ended.code != 0 and not current.ending
        if died:
            self._suspected_damage[session_id] = ""
        stderr_tail = {"stderr_tail": ended.stderr_tail[-1_000:]} if died else {}
        extra = {"code": ended.code, "reason": current.ending or ended.reason} | stderr_tail
        log.log(logging.WARNING if died else logging.INFO, "sandbox ended", extra=extra)
        is_to_repeat = has_no_room = died and ended.code == EXIT_NO_ROOM
        try:
            if not current.is_drained:  # its acknowledgements may refer to messages that could not be imported
                raise NeedsRecovery("its last messages cannot be read")
            await self._record_with_retry(self.mailbox.sync_acknowledgements, session_id)
            if has_no_room or current.is_failed_try(ended.code):
                waited_s = self.timing.no_room_wait_s if has_no_room else 0.0
                await self._record_with_retry(partial(self._tries.count, waited_s=waited_s), session_id)
        except UNREADABLE as error:
            log.warning("results of the sandbox cannot be recorded", extra={"error": str(error)})
            # A killed runner may not have reached its journal recovery, so its failure does not prove damage.
            could_repair = ended.code >= 0 and not has_no_room and not is_exhausted(error)
            self._unreadable_runs[session_id] += could_repair
            self._suspected_damage[session_id] = f"no runner could repair it: {error}" if could_repair else ""
            is_to_repeat = True  # a fresh runner repairs its file (⚠25)
        finally:
            self.mailbox.outbox.release(session_id)
        if is_to_repeat:
            self._failed_starts[session_id] += 1
            self._to_repeat.add(session_id)

    async def _record_with_retry(self, record: Callable[[SessionId], Awaitable[object]], session_id: SessionId) -> None:
        """Record a sandbox's results, retrying while the central database refuses writes.

        The next sandbox must not start before. If the host stops, the next host reads the results from the session's
        files.
        """
        while True:
            try:
                await record(session_id)
                return
            except CentralDatabaseFailed as error:
                if self._is_closing:
                    return
                self.outage.note_refusal("record sandboxes", error, again_in_s=self.timing.store_retry_s)
                await asyncio.sleep(self.timing.store_retry_s)

    async def _start_failed(self, session_id: SessionId, error: BaseException) -> float:
        log.error("sandbox could not be started", exc_info=error)
        self._failed_starts[session_id] += 1
        if self._failed_starts[session_id] >= 2:  # a single failure may be transient
            self._notices.send(session_id, NOT_NOW, reason=f"{type(error).__name__}: {error}")
        return self._failure_pause(session_id)

    def _failure_pause(self, session_id: SessionId) -> float:
        return pause_before_start(self._failed_starts[session_id], self.core.start_pauses_s)
