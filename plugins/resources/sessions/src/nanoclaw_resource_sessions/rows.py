"""The rows of sessions, and of what their agents sent."""

from __future__ import annotations

from typing import Any

import apsw

from nanoclaw_core import GroupId, SessionId


def is_there(db: apsw.Connection, session_id: str, within: GroupId | None) -> bool:
    """Say whether there is a session, of one agent group where `within` names it."""
    query = "SELECT 1 FROM sessions WHERE id = ? AND agent_group_id = coalesce(?, agent_group_id)"
    return db.execute(query, (session_id, within)).get is not None


def sent(db: apsw.Connection, session_id: SessionId, limit: int) -> list[Any]:
    """Return `(at, number, kind, content, status)` of what was sent, the latest first."""
    query = "SELECT created_at, message_seq, kind, content, status FROM deliveries WHERE session_id = ?"
    return db.execute(f"{query} ORDER BY message_seq DESC LIMIT ?", (session_id, limit)).fetchall()


def answered(db: apsw.Connection, session_id: SessionId) -> set[str]:
    """Return the correlation ids of the messages that something was written about."""
    query = "SELECT DISTINCT correlation_id FROM deliveries WHERE session_id = ? AND correlation_id IS NOT NULL"
    return {found for (found,) in db.execute(query, (session_id,))}


def is_closed(db: apsw.Connection, session_id: str) -> bool:
    """Say whether a session is closed."""
    return db.execute("SELECT status FROM sessions WHERE id = ?", (session_id,)).get == "closed"


def is_sending(db: apsw.Connection, session_id: str) -> bool:
    """Say whether something that a session wrote, with its files, still has to go out."""
    query = "SELECT 1 FROM deliveries WHERE session_id = ? AND status IN ('queued', 'sending') LIMIT 1"
    return db.execute(query, (session_id,)).get is not None


def delete(db: apsw.Connection, session_id: str) -> None:
    """Remove a closed session; what was delivered from it and asked in it is kept without it."""
    with db:
        db.execute("UPDATE deliveries SET session_id = NULL WHERE session_id = ?", (session_id,))
        db.execute("UPDATE approvals SET session_id = NULL WHERE session_id = ?", (session_id,))
        db.execute("DELETE FROM sessions WHERE id = ? AND status = 'closed'", (session_id,))
