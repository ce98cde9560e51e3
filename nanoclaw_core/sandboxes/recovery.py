"""Recovery of sessions with unusable files: diagnose and replace them.

A damaged session affects no other. The operator finds one line in the log, and its people get a notice.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable
from functools import partial

import apsw
from attrs import define, field
from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core.errors import PLUGIN_ERRORS, NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.integrity import check_integrity
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.sandboxes.quarantine import SessionQuarantine
from nanoclaw_core.sandboxes.quarantine_budget import QuarantineBudget
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.store import sessions
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)
LOG_REPEAT_S = 60.0  # a sandbox that keeps its file unreadable must not fill the log


@define(kw_only=True, eq=False)
class SessionRecovery:
    """Quarantines damaged sessions, each once."""

    db: apsw.Connection
    mailbox: Mailbox
    quarantine: SessionQuarantine
    budget: QuarantineBudget
    supervisor: Supervisor
    timing: Timing
    _tasks: TaskSet = field(factory=TaskSet, init=False)
    _quarantining: dict[SessionId, asyncio.Task[None]] = field(factory=dict, init=False)
    _diagnoses: dict[SessionId, asyncio.Task[bool]] = field(factory=dict, init=False)
    _logged_at: dict[SessionId, float] = field(factory=dict, init=False)
    # Of each conversation, the number of its last quarantines that followed each other closely, and the end of that.
    _episodes: dict[object, tuple[int, float]] = field(factory=dict, init=False)
    _budget_at: float = field(default=-math.inf, init=False)
    _is_closing: bool = field(default=False, init=False)

    def report_unreadable(self, session_id: SessionId, reason: str) -> None:
        """Log that a session's files cannot be read, and start a diagnosis; return at once."""
        now = asyncio.get_running_loop().time()
        if (
            self._is_closing
            or session_id in self._quarantining
            or now - self._logged_at.get(session_id, -LOG_REPEAT_S) < LOG_REPEAT_S
        ):
            return
        self._logged_at[session_id] = now
        log.warning("session files cannot be read", extra={"session": session_id, "reason": reason})
        if session_id not in self._diagnoses:
            diagnosis = self._diagnoses[session_id] = self._tasks.spawn(self.diagnose(session_id))
            diagnosis.add_done_callback(lambda _done: self._diagnoses.pop(session_id, None))

    async def diagnose(self, session_id: SessionId, force_reason: str = "") -> bool:
        """Check a session for damage, and start the quarantine of a damaged one.

        With a `force_reason` the session is quarantined even if its files look whole.

        Returns:
            True if the session is damaged.
        """
        session = None if self._is_closing else sessions.get_active(self.db, session_id)
        if session is None:
            return False
        if session_id in self._quarantining:
            return True
        layout = self.mailbox.directories.layout(session_id)
        reason = await asyncio.to_thread(check_integrity, layout, session) or force_reason
        # Another diagnosis may have ended meanwhile, so that the files are gone because of its quarantine.
        session = sessions.get_active(self.db, session_id)
        if reason and session is not None and session_id not in self._quarantining:
            task = self._quarantining[session_id] = self._tasks.spawn(self._quarantine(session, reason))
            task.add_done_callback(partial(self._done, session_id))
        return bool(reason)

    async def diagnose_all(self, session_ids: Iterable[SessionId]) -> None:
        """Diagnose the sessions that a stopped host left with work, one after the other.

        A crash of the machine can damage files, and some damage hides a waiting message without an error.
        """
        for session_id in session_ids:
            try:
                await self.diagnose(session_id)
            except (apsw.Error, NanoclawError, OSError) as error:
                log.warning("session could not be diagnosed", extra={"session": session_id, "error": str(error)})

    async def recover(self, session_id: SessionId) -> bool:
        """Diagnose a session and wait for its quarantine; return False if it stays in use."""
        if await self.diagnose(session_id):
            task = self._quarantining.get(session_id)
            if task is not None:
                await asyncio.wait([task])
            return True
        session = sessions.get(self.db, session_id)
        return session is not None and session.status != "active"  # quarantined while a message was on its way

    def enforce_budget(self, *, every_s: float = 0.0) -> None:
        """Start to remove quarantined sessions beyond the budget, unless it began less than `every_s` ago."""
        now = asyncio.get_running_loop().time()
        if not self._is_closing and now - self._budget_at >= every_s:
            self._budget_at = now
            self._tasks.spawn(self._enforce_budget())

    async def close(self) -> None:
        """Cancel all diagnoses and quarantines; the next host finds the same damage."""
        self._is_closing = True
        await self._tasks.close(self.timing.cancel_s)

    async def _quarantine(self, session: Session, reason: str) -> None:
        now, pause_s = asyncio.get_running_loop().time(), self.timing.requarantine_s
        self._episodes = {key: episode for key, episode in self._episodes.items() if episode[1] > now}
        key = (session.agent_group_id, session.conversation)
        earlier = self._episodes.get(key, (0, now))[0]
        try:
            await self.supervisor.stop_session(session.id, "its files are damaged")
            fresh = await self.quarantine.quarantine(session, reason, earlier=earlier)
        except PLUGIN_ERRORS:  # error boundary: a failure of one session, such as a full disk, must not affect others
            log.exception("damaged session could not be quarantined", extra={"session": session.id, "reason": reason})
            return
        self.enforce_budget()
        self._episodes[key] = (earlier + 1, now + 2 * pause_s)
        if earlier:  # also without a waiting message: the next one must not start a sandbox at once
            self.supervisor.wake(fresh.id, pause_s=pause_s)
        elif self.mailbox.update_due(fresh.id) is not None:
            self.supervisor.wake(fresh.id)

    async def _enforce_budget(self) -> None:
        try:
            await self.budget.enforce()
        except (apsw.Error, OSError) as error:
            log.warning("quarantined sessions cannot be removed", extra={"error": str(error)})

    def _done(self, session_id: SessionId, _task: asyncio.Task[None]) -> None:
        self._quarantining.pop(session_id, None)
        self._logged_at.pop(session_id, None)
