"""The sweep finds missed events once a minute.

Its cost depends only on running and due sessions (⚠27), but once an hour it looks for quarantined ones.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import apsw
from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.log_lines import describe

from nanoclaw_core import logs
from nanoclaw_core.delivery.outbox_poller import OutboxPoller
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.mailbox.outbox import UNREADABLE
from nanoclaw_core.sandboxes.health import HealthSignals, stuck_reason
from nanoclaw_core.sandboxes.recovery import SessionRecovery
from nanoclaw_core.sandboxes.running import Running
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.store import accepted, deliveries
from nanoclaw_core.store.usage import Usage
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)
DELIVERIES_KEPT = timedelta(days=30)
QUARANTINE_EVERY_S = 3_600.0  # the search reads all of `sessions/`; each quarantine starts one, too
ACCEPTED_KEPT = timedelta(days=7)  # platforms offer an unacknowledged message again for hours, some for a day


@frozen(kw_only=True)
class Sweeper:
    """Polls running sandboxes, wakes due sessions and removes old rows."""

    db: apsw.Connection
    supervisor: Supervisor
    mailbox: Mailbox
    outbox_poller: OutboxPoller
    recovery: SessionRecovery
    usage: Usage
    timing: Timing

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self.timing.sweep_s)
            await self.once()

    async def once(self) -> None:
        """Sweep once. An error of one session does not affect the others (⚠25)."""
        for session_id, running in list(self.supervisor.running.items()):
            with logs.context(session=session_id):
                try:
                    await self._check_session(session_id, running)
                except Exception as error:  # error boundary: an error of one session must not affect the others
                    log.error("session could not be swept", extra=describe(error))
        now = clock.now()
        for session_id in self.mailbox.due.waiting(clock.to_text(now)):
            self.supervisor.wake(session_id, for_people=False)
        deliveries.prune(self.db, clock.to_text(now - DELIVERIES_KEPT))
        self.usage.prune(clock.to_text(now - DELIVERIES_KEPT))
        accepted.prune(self.db, clock.to_text(now - ACCEPTED_KEPT))
        self.mailbox.directories.trash.empty()
        self.recovery.enforce_budget(every_s=QUARANTINE_EVERY_S)

    async def _check_session(self, session_id: SessionId, running: Running) -> None:
        self.outbox_poller.poll(session_id)
        reason = stuck_reason(self._signals(session_id, running), self.timing)
        if reason:
            log.warning("sandbox is stuck", extra={"reason": reason})
            await self.supervisor.stop(session_id, reason, counts_as_failure=True)
            return
        try:
            await self.mailbox.sync_acknowledgements(session_id)
        except UNREADABLE as error:
            log.warning("acknowledgements cannot be read", extra={"error": str(error)})

    def _signals(self, session_id: SessionId, running: Running) -> HealthSignals:
        now, beat = clock.now(), self.mailbox.outbox.heartbeat_at(session_id)
        try:
            claims = self.mailbox.outbox.claims(session_id)
            state = self.mailbox.outbox.state(session_id)
            waiting = self.mailbox.waiting(session_id)
        except UNREADABLE:
            claims, state, waiting = [], None, frozenset()  # the file cannot be read: only the heartbeat counts
        # The clock may have been set back: a later time would excuse the sandbox until the clock reaches it.
        running.started_at = min(running.started_at, now)
        running.ignored = {message_id: min(running.ignored.get(message_id, now), now) for message_id in waiting}
        return HealthSignals(
            now=now,
            started_at=running.started_at,
            heartbeat_at=datetime.fromtimestamp(beat, UTC) if beat is not None else None,
            claims=claims,
            state=state,
            ignored_since=min(running.ignored.values(), default=None),
        )
