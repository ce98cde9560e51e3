"""The plugin's tables: notes, and who was given which."""

from __future__ import annotations

import apsw
from attrs import frozen

from nanoclaw_core import GroupId, SessionId

_NOTES = """
CREATE TABLE notes_notes (
    id TEXT PRIMARY KEY,
    agent_group_id TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    urgency TEXT NOT NULL CHECK (urgency IN ('low', 'high')),
    created_at TEXT NOT NULL
) STRICT
"""
_READINGS = """
CREATE TABLE notes_readings (
    note_id TEXT NOT NULL REFERENCES notes_notes (id) ON DELETE CASCADE,
    session_id TEXT NOT NULL,       -- without a reference: conversations are none of this plugin's
    at TEXT NOT NULL
) STRICT
"""


@frozen
class Note:
    """What somebody left for an agent."""

    id: str
    agent_group_id: GroupId
    text: str


def create_tables(db: apsw.Connection) -> None:
    """Make them."""
    db.execute(_NOTES)
    db.execute(_READINGS)


def find(db: apsw.Connection, note_id: str, *, within: GroupId | None) -> Note | None:
    """Return a note, of one agent group where `within` names it, or None."""
    query = "SELECT id, agent_group_id, text FROM notes_notes WHERE id = ?"
    found = db.execute(f"{query} AND agent_group_id = coalesce(?, agent_group_id)", (note_id, within))
    return next((Note(*values) for values in found), None)


def count(db: apsw.Connection, group_id: str) -> int:
    """Return how many notes an agent has."""
    found: int = db.execute("SELECT count(*) FROM notes_notes WHERE agent_group_id = ?", (group_id,)).get
    return found


def add_reading(db: apsw.Connection, note_id: str, session_id: SessionId, at: str) -> None:
    """Note that a conversation was given a note."""
    db.execute("INSERT INTO notes_readings (note_id, session_id, at) VALUES (?, ?, ?)", (note_id, session_id, at))
