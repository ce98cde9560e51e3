"""The mailbox: the files of all sessions as the host works with them, and bringing inbound.db up to date.

What runners acknowledged is not copied message by message: a runner knows what it has done, so this costs one commit
for many messages, when a sandbox ends, when the sweep comes by, and when a burst has piled up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import apsw
from attrs import frozen
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import Status
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.due import DueIndex
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.mailbox.outbox import ROWS_AT_ONCE, OutboxReader
from nanoclaw_core.store import sessions
from nanoclaw_core.store.connection import central

log = logging.getLogger(__name__)
LOOKS_AT_MOST = 100  # at one time: a sandbox can write on for ever, and an honest one has less
_STATUS = {AckStatus.COMPLETED: Status.COMPLETED, AckStatus.FAILED: Status.FAILED}


@frozen(kw_only=True)
class Mailbox:
    """All sessions' files, and the marks in the central database that belong to them."""

    db: apsw.Connection
    directories: SessionDirectories
    inboxes: InboxWriter
    outboxes: OutboxReader
    due: DueIndex

    @classmethod
    def of(cls, db: apsw.Connection, directories: SessionDirectories, *, file_bytes: int) -> Mailbox:
        """Return the mailbox of a host; `file_bytes` bounds the files of one outgoing message together."""
        return cls(
            db=db,
            directories=directories,
            inboxes=InboxWriter(directories),
            outboxes=OutboxReader(directories, file_bytes=file_bytes),
            due=DueIndex(db),
        )

    def release(self, session_id: SessionId) -> None:
        """Close a session's files; what is needed again is opened again."""
        self.inboxes.release(session_id)
        self.outboxes.release(session_id)

    def close(self) -> None:
        """Close all files."""
        self.inboxes.close()
        self.outboxes.close()

    async def settle(self, session_id: SessionId) -> str | None:
        """Copy new acknowledgements, and return when the session next needs a sandbox (None: nothing waits).

        Raises:
            NeedsItsRunner, apsw.Error, NotARegularFile, WrongProtocol, ValueError: outbound.db cannot be read now;
                what was copied before stands.
            CentralDatabaseFailed: How far it was copied could not be noted; copying it again changes nothing.
        """
        with central():
            session = sessions.get(self.db, session_id)
        if session is None:
            return None
        revision = session.acknowledged_revision
        for _ in range(LOOKS_AT_MOST):
            found = self.outboxes.acknowledgements(session_id, revision)
            if not found:
                break
            changes = [(ack.message_id, _STATUS[ack.status]) for ack in found if ack.status in _STATUS]
            if changes:
                self._tell_failures(session_id, changes)
                await self.inboxes.set_status(session_id, changes)
            revision = found[-1].revision
            with central():
                sessions.settled(self.db, session_id, revision)
            if len(found) < ROWS_AT_ONCE:
                break
            await asyncio.sleep(0)  # others have their turns
        return self.mark(session_id)

    def _tell_failures(self, session_id: SessionId, changes: Iterable[tuple[str, Status]]) -> None:
        """Log what failed and where the reason is: in the runner's own log, which the host does not read (I6, I12)."""
        for message_id, status in changes:
            message = inbound.by_id(self.inboxes.read(session_id), message_id) if status is Status.FAILED else None
            if message is not None and message.status is Status.PENDING:
                extra = {"session": session_id, "row": message_id, "correlation": message.correlation_id}
                log.warning("message failed", extra=extra | {"details": self.outboxes.runner_log(session_id)})

    def waiting(self, session_id: SessionId) -> frozenset[str]:
        """Return the due messages that the runner is not done with. Reads only; raises as `settle` does."""
        due = [m.id for m in inbound.waiting(self.inboxes.read(session_id), clock.now_text())]
        return frozenset(due) - self.outboxes.settled(session_id, due)

    def mark(self, session_id: SessionId) -> str | None:
        """Set the session's due mark to what its inbound.db says, and return it."""
        due_at = inbound.next_due(self.inboxes.read(session_id))
        self.due.settle(session_id, due_at)
        return due_at
