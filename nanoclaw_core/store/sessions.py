"""Sessions: one conversation each. Whether a sandbox runs is not stored: only the supervisor knows (⚠24)."""

from __future__ import annotations

import apsw
from attrs import field, frozen
from nanoclaw_wire import clock

from nanoclaw_core.ids import GroupId, MessagingGroupId, SessionId, new_id
from nanoclaw_core.store.connection import insert, row


@frozen(kw_only=True)
class Session:
    """One conversation.

    Args:
        messaging_group_id: Where it takes place; None where it has no chat of its own.
        thread: Set where one thread is one conversation.
        conversation: What makes it one; unique among an agent group's active sessions.
        provider: Overrides the group's, or None.
        outbound_seq: The last number of outbound.db that was taken over.
        acknowledged_revision: The last acknowledgement that was taken over.
        due_at: When it next needs a sandbox (clock text form); None where nothing waits. Set before a message is
            written and cleared after everything is answered, so that a start finds its work without looking into every
            session.
    """

    id: SessionId = field(factory=lambda: SessionId(new_id("ses")))
    agent_group_id: GroupId
    messaging_group_id: MessagingGroupId | None = None
    thread: str | None = None
    conversation: str
    provider: str | None = None
    status: str = "active"
    outbound_seq: int = 0
    acknowledged_revision: int = 0
    due_at: str | None = None
    created_at: str = field(factory=clock.now_text)


def find(db: apsw.Connection, group_id: GroupId, conversation: str) -> Session | None:
    """Return an agent group's active session of a conversation, or None."""
    source = "sessions WHERE agent_group_id = ? AND conversation = ? AND status = 'active'"
    return row(db, Session, source, (group_id, conversation))


def get(db: apsw.Connection, session_id: SessionId) -> Session | None:
    """Return a session, or None."""
    return row(db, Session, "sessions WHERE id = ?", (session_id,))


def add(db: apsw.Connection, session: Session) -> None:
    """Store a new session.

    Raises:
        apsw.ConstraintError: The conversation has an active one already.
    """
    insert(db, "sessions", session)


def due(db: apsw.Connection, now: str) -> list[SessionId]:
    """Return the active sessions that need a sandbox, in the order of their dates, then the oldest first."""
    query = "SELECT id FROM sessions WHERE due_at <= ? AND status = 'active' ORDER BY due_at, created_at"
    return [SessionId(found) for (found,) in db.execute(query, (now,))]


def set_due(db: apsw.Connection, session_id: SessionId, due_at: str | None) -> None:
    """Note when a session next needs a sandbox; None: nothing waits."""
    db.execute("UPDATE sessions SET due_at = ? WHERE id = ?", (due_at, session_id))


def set_outbound_cursor(db: apsw.Connection, session_id: SessionId, outbound_seq: int) -> None:
    """Note how far a session's outbound messages were taken over; in the transaction that takes them over."""
    db.execute("UPDATE sessions SET outbound_seq = ? WHERE id = ?", (outbound_seq, session_id))


def set_ack_cursor(db: apsw.Connection, session_id: SessionId, revision: int) -> None:
    """Note up to which acknowledgement inbound.db was brought."""
    db.execute("UPDATE sessions SET acknowledged_revision = ? WHERE id = ?", (revision, session_id))


def close(db: apsw.Connection, session_id: SessionId) -> None:
    """End a conversation: its next message starts a new one."""
    db.execute("UPDATE sessions SET status = 'closed' WHERE id = ?", (session_id,))
