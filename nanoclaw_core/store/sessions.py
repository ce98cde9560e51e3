"""Sessions, one per conversation.

Only the supervisor knows whether a sandbox runs; it is not stored (⚠24).
"""

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
        messaging_group_id: The chat of the conversation; None if it has no chat of its own.
        thread: Set if each thread of the chat is a conversation.
        conversation: The key of the conversation; unique among an agent group's active sessions.
        provider: Overrides the group's provider; None does not.
        outbound_seq: The sequence number of the last imported row of outbound.db.
        acknowledged_revision: The revision of the last imported acknowledgement.
        due_at: The time when it next needs a sandbox (clock text form); None if no message waits. It is set before a
            message is written and cleared after all are answered, so that a starting host finds its work without
            opening every session.
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
    """Return the active session of an agent group's conversation, or None."""
    source = "sessions WHERE agent_group_id = ? AND conversation = ? AND status = 'active'"
    return row(db, Session, source, (group_id, conversation))


def get(db: apsw.Connection, session_id: SessionId) -> Session | None:
    """Return a session, or None."""
    return row(db, Session, "sessions WHERE id = ?", (session_id,))


def get_active(db: apsw.Connection, session_id: SessionId) -> Session | None:
    """Return a session that is not closed, or None."""
    return row(db, Session, "sessions WHERE id = ? AND status = 'active'", (session_id,))


def add(db: apsw.Connection, session: Session) -> None:
    """Store a new session.

    Raises:
        apsw.ConstraintError: The conversation already has an active session.
    """
    insert(db, "sessions", session)


def due(db: apsw.Connection, now: str) -> list[SessionId]:
    """Return the active sessions that need a sandbox, in the order of due time and creation."""
    query = "SELECT id FROM sessions WHERE due_at <= ? AND status = 'active' ORDER BY due_at, created_at"
    return [SessionId(session_id) for (session_id,) in db.execute(query, (now,))]


def set_due(db: apsw.Connection, session_id: SessionId, due_at: str | None) -> None:
    """Set the time when a session next needs a sandbox; None if no message waits."""
    db.execute("UPDATE sessions SET due_at = ? WHERE id = ?", (due_at, session_id))


def set_outbound_cursor(db: apsw.Connection, session_id: SessionId, outbound_seq: int) -> None:
    """Set the sequence number of the last imported row; call it in the transaction of the import."""
    db.execute("UPDATE sessions SET outbound_seq = ? WHERE id = ?", (outbound_seq, session_id))


def set_ack_cursor(db: apsw.Connection, session_id: SessionId, revision: int) -> None:
    """Set the revision of the last acknowledgement that was copied into inbound.db."""
    db.execute("UPDATE sessions SET acknowledged_revision = ? WHERE id = ?", (revision, session_id))


def close(db: apsw.Connection, session_id: SessionId) -> None:
    """Close a session; the next message of its conversation starts a new one."""
    db.execute("UPDATE sessions SET status = 'closed' WHERE id = ?", (session_id,))
