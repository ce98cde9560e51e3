"""Reads and deletes rows of sessions, and reads their deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw

from nanoclaw_core import GroupId, SessionId


def exists(db: apsw.Connection, session_id: str, group_id: GroupId | None) -> bool:
    """Return True if a session exists in an agent group; None means any group."""
    query = "SELECT 1 FROM sessions WHERE id = ? AND agent_group_id = coalesce(?, agent_group_id)"
    return db.execute(query, (session_id, group_id)).get is not None


def described(db: apsw.Connection, session_id: str) -> dict[str, Any]:
    """Return a session as a human recognises it: its agent, its room and its status."""
    tables = "sessions s JOIN agent_groups g ON g.id = s.agent_group_id"
    tables += " LEFT JOIN messaging_groups m ON m.id = s.messaging_group_id"
    query = f"SELECT g.name, m.channel, m.room, s.thread, s.status FROM {tables} WHERE s.id = ?"
    names = ("agent", "channel", "room", "thread", "status")
    return dict(zip(names, db.execute(query, (session_id,)).fetchone(), strict=True))


def sent(db: apsw.Connection, session_id: SessionId, limit: int) -> Iterable[Any]:
    """Yield `(at, number, kind, content, status)` of each delivery, latest first."""
    query = "SELECT created_at, message_seq, kind, content, status FROM deliveries WHERE session_id = ?"
    return db.execute(f"{query} ORDER BY message_seq DESC LIMIT ?", (session_id, limit))


def answered(db: apsw.Connection, session_id: SessionId) -> set[str]:
    """Return the correlation ids of the messages that have a delivery."""
    query = "SELECT DISTINCT correlation_id FROM deliveries WHERE session_id = ? AND correlation_id IS NOT NULL"
    return {correlation_id for (correlation_id,) in db.execute(query, (session_id,))}


def is_closed(db: apsw.Connection, session_id: str) -> bool:
    """Return whether a session is closed."""
    return db.execute("SELECT status FROM sessions WHERE id = ?", (session_id,)).get == "closed"


def is_sending(db: apsw.Connection, session_id: str) -> bool:
    """Return whether a message of the session still has to be sent.

    Its files may be needed for that.
    """
    query = "SELECT 1 FROM deliveries WHERE session_id = ? AND status IN ('queued', 'sending') LIMIT 1"
    return db.execute(query, (session_id,)).get is not None


def delete(db: apsw.Connection, session_id: str) -> None:
    """Delete a closed session. Its deliveries and approvals stay, without a session."""
    with db:
        db.execute("UPDATE deliveries SET session_id = NULL WHERE session_id = ?", (session_id,))
        db.execute("UPDATE approvals SET session_id = NULL WHERE session_id = ?", (session_id,))
        db.execute("DELETE FROM sessions WHERE id = ? AND status = 'closed'", (session_id,))
