"""The mailbox: the files of all sessions, and the copy of acknowledgements into inbound.db.

Acknowledgements are copied in batches, because a runner already knows which messages it has answered. One commit covers
many messages: at the end of a sandbox, in each sweep, and during a burst.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Set

import apsw
from attrs import frozen
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import Status
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.due import DueIndex
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.mailbox.outbox import ROW_BATCH, OutboxReader
from nanoclaw_core.store import sessions
from nanoclaw_core.store.connection import central

log = logging.getLogger(__name__)
MAX_ACK_BATCHES = 100  # per call: a hostile sandbox can write without end, an honest one needs fewer
_STATUS = {AckStatus.COMPLETED: Status.COMPLETED, AckStatus.FAILED: Status.FAILED}


@frozen(kw_only=True)
class Mailbox:
    """The files of all sessions, and their cursors and due times in the central database."""

    db: apsw.Connection
    directories: SessionDirectories
    inbox: InboxWriter
    outbox: OutboxReader
    due: DueIndex

    def release(self, session_id: SessionId) -> None:
        """Close a session's files; the next use opens them again."""
        self.inbox.release(session_id)
        self.outbox.release(session_id)

    def close(self) -> None:
        """Close all files."""
        self.inbox.close()
        self.outbox.close()

    async def sync_acknowledgements(self, session_id: SessionId) -> str | None:
        """Copy new acknowledgements into inbound.db, and return the session's next due time.

        Returns:
            Clock text form; None if no message waits.

        Raises:
            NeedsRecovery, apsw.Error, NotARegularFile, WrongProtocol, ValueError: outbound.db cannot be read now;
                earlier batches stay copied.
            CentralDatabaseFailed: The cursor could not be stored; copying the same batch again changes nothing.
        """
        with central():
            session = sessions.get(self.db, session_id)
        if session is None:
            return None
        revision = session.acknowledged_revision
        for _ in range(MAX_ACK_BATCHES):
            batch = self.outbox.acknowledgements(session_id, revision)
            if not batch:
                break
            final = [ack for ack in batch if ack.status in _STATUS]
            if final:
                changes = [(ack.message_id, _STATUS[ack.status]) for ack in final]
                self._log_failures(session_id, changes)
                await self.inbox.set_status(session_id, changes)
                # Not that of a claim: a fresh runner deletes the claims of a dead one, and uses their revisions again.
                with central():
                    sessions.set_ack_cursor(self.db, session_id, final[-1].revision)
            revision = batch[-1].revision
            if len(batch) < ROW_BATCH:
                break
            await asyncio.sleep(0)  # let other sessions run
        return self.update_due(session_id)

    def _log_failures(self, session_id: SessionId, changes: Iterable[tuple[str, Status]]) -> None:
        """Log failed messages with the path of the runner's log, which has the reason (I6, I12)."""
        for message_id, status in changes:
            message = inbound.by_id(self.inbox.read(session_id), message_id) if status is Status.FAILED else None
            if message is not None and message.status is Status.PENDING:
                extra = {"session": session_id, "row": message_id, "correlation": message.correlation_id}
                log.warning("message failed", extra=extra | {"details": self.outbox.runner_log(session_id)})

    def waiting(self, session_id: SessionId) -> Set[str]:
        """Return the ids of the due messages that the runner has not finished.

        Reads only. Raises as `sync_acknowledgements` does.
        """
        due = inbound.waiting_ids(self.inbox.read(session_id), clock.now_text())
        return due - self.outbox.finished(session_id, due)

    def update_due(self, session_id: SessionId) -> str | None:
        """Set the session's due time from its inbound.db, unless a message is being written; return the time."""
        due_at = inbound.next_due(self.inbox.read(session_id))
        if not self.inbox.is_writing(session_id):
            self.due.update(session_id, due_at)
        return due_at
