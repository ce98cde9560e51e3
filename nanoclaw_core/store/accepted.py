"""Recently accepted messages.

If a platform offers one again, it gets a receipt and no second answer. The inbound.db of an active session has the same
data; this table outlives the session. A row is written only after its message is durable in inbound.db (I3), so no row
exists without a stored message.
"""

from __future__ import annotations

import apsw
from attrs import asdict, field, frozen
from nanoclaw_wire import clock

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.ids import GroupId, SessionId
from nanoclaw_core.store.connection import write

PRUNE_BATCH = 5_000  # takes about 0.02 s; the next sweep, a minute later, removes the rest


@frozen(kw_only=True)
class Accepted:
    """One message in one agent group's session.

    Args:
        message_id: `messages_in.id`, the same for each offer of one platform message.
        correlation_id: The id under which its answer is delivered.
        accepted_at: The host's time in clock text form.
    """

    agent_group_id: GroupId
    message_id: str
    session_id: SessionId
    channel: str
    room: str
    thread: str | None = None
    correlation_id: str
    accepted_at: str = field(factory=clock.now_text)


def record(db: apsw.Connection, accepted: Accepted) -> None:
    """Store that a message was accepted, without a sync of its own.

    The row survives the end of the process at once, and a crash of the machine after the next commit. If such a crash
    undoes it, inbound.db still has the message (`docs/decisions/0006`). Call it outside of transactions.
    """
    db.pragma("synchronous", "normal")
    try:
        write(db, "INSERT OR REPLACE", "accepted_messages", asdict(accepted))
    finally:
        db.pragma("synchronous", "full")


def session_of(db: apsw.Connection, group_id: GroupId, message_id: str) -> SessionId | None:
    """Return the session in which an agent group accepted a message, or None."""
    query = "SELECT session_id FROM accepted_messages WHERE agent_group_id = ? AND message_id = ?"
    session_id = db.execute(query, (group_id, message_id)).get
    return SessionId(session_id) if session_id else None


def recent_addresses(db: apsw.Connection, group_id: GroupId, session_id: SessionId, limit: int) -> list[Address]:
    """Return the addresses from which a session accepted messages, the most recent first."""
    query = (
        "SELECT channel, room, thread FROM accepted_messages WHERE agent_group_id = ? AND session_id = ?"
        " GROUP BY channel, room, thread ORDER BY max(rowid) DESC LIMIT ?"
    )
    return [Address(*values) for values in db.execute(query, (group_id, session_id, limit))]


def forget_unanswered(db: apsw.Connection, group_id: GroupId, session_id: SessionId) -> int:
    """Forget the messages that a session accepted after its last answered one; return their number.

    Use it if a session is lost with its inbound.db: if a platform offers these messages again, they are answered. A
    prompt can hold several messages and its answer names the last one, so all earlier ones count as answered.
    """
    own = "agent_group_id = ?1 AND session_id = ?2"
    answered = "correlation_id IN (SELECT correlation_id FROM deliveries WHERE session_id = ?2)"
    last = f"(SELECT max(rowid) FROM accepted_messages WHERE {own} AND {answered})"
    db.execute(
        f"DELETE FROM accepted_messages WHERE {own} AND rowid > coalesce({last}, 0)",
        (group_id, session_id),
    )
    return db.changes()


def prune(db: apsw.Connection, before: str, *, limit: int = PRUNE_BATCH) -> int:
    """Forget the oldest messages accepted before a time (clock text form); return their number."""
    oldest = "SELECT rowid FROM accepted_messages WHERE accepted_at < ? ORDER BY accepted_at LIMIT ?"
    db.execute(f"DELETE FROM accepted_messages WHERE rowid IN ({oldest})", (before, limit))
    return db.changes()
