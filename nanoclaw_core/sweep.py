"""The sweep: once a minute, what no event told us. It costs what runs and what is due, not what ever was (⚠27)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import apsw
from attrs import frozen
from nanoclaw_wire import clock

from nanoclaw_core import logs
from nanoclaw_core.delivery.outbox_poller import UNREADABLE, OutboxPoller
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.sandboxes.health import HealthSignals, stuck_reason
from nanoclaw_core.sandboxes.running import Running
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.store import accepted, deliveries

log = logging.getLogger(__name__)
EVERY_S = 60.0
DELIVERIES_KEPT = timedelta(days=30)
ACCEPTED_KEPT = timedelta(days=7)  # platforms contribution an unacknowledged message again for hours, some for a day


@frozen(kw_only=True)
class Sweeper:
    """Looks after everything that could have been missed."""

    db: apsw.Connection
    supervisor: Supervisor
    mailbox: Mailbox
    outbox_poller: OutboxPoller
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self.sleep(EVERY_S)
            await self.once()

    async def once(self) -> None:
        """Sweep once. A session that cannot be looked after does not stop the others (⚠25)."""
        for session_id, running in list(self.supervisor.running.items()):
            with logs.context(session=session_id):
                try:
                    await self._look_after(session_id, running)
                except Exception:  # the run fence: one session, one trouble
                    log.exception("session could not be looked after")
        now = clock.now()
        for session_id in self.mailbox.due.waiting(clock.to_text(now)):
            self.supervisor.wake(session_id, for_people=False)
        deliveries.prune(self.db, clock.to_text(now - DELIVERIES_KEPT))
        accepted.prune(self.db, clock.to_text(now - ACCEPTED_KEPT))

    async def _look_after(self, session_id: SessionId, running: Running) -> None:
        self.outbox_poller.poll(session_id)
        reason = stuck_reason(self._signs(session_id, running))
        if reason:
            log.warning("sandbox is stuck", extra={"reason": reason})
            await self.supervisor.stop(session_id, reason, counts_as_failure=True)
            return
        try:
            await self.mailbox.sync_acknowledgements(session_id)
        except UNREADABLE as error:
            log.warning("session cannot be settled", extra={"error": str(error)})

    def _signs(self, session_id: SessionId, running: Running) -> HealthSignals:
        now, beat = clock.now(), self.mailbox.outbox.heartbeat_at(session_id)
        try:
            claims = self.mailbox.outbox.claims(session_id)
            state = self.mailbox.outbox.state(session_id)
            waiting = self.mailbox.waiting(session_id)
        except UNREADABLE:
            claims, state, waiting = [], None, frozenset()  # nothing can be read: the heartbeat alone decides
        # The clock may have been set back since: what lies ahead of it would excuse the sandbox until it comes round.
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
