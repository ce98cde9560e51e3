"""The tables of the plugin: notes, and the sessions that received them."""

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
    session_id TEXT NOT NULL,       -- no foreign key: sessions belong to the core
    at TEXT NOT NULL
) STRICT
"""


@frozen
class Note:
    """A note for an agent."""

    id: str
    agent_group_id: GroupId
    text: str


def create_tables(db: apsw.Connection) -> None:
    """Create the tables."""
    db.execute(_NOTES)
    db.execute(_READINGS)


def find(db: apsw.Connection, note_id: str, *, group_id: GroupId | None) -> Note | None:
    """Return the note with this id, or None. A note of another group than `group_id` counts as missing."""
    query = "SELECT id, agent_group_id, text FROM notes_notes WHERE id = ?"
    rows = db.execute(f"{query} AND agent_group_id = coalesce(?, agent_group_id)", (note_id, group_id))
    return next((Note(*values) for values in rows), None)


def count(db: apsw.Connection, group_id: str) -> int:
    """Return the number of notes of an agent."""
    number: int = db.execute("SELECT count(*) FROM notes_notes WHERE agent_group_id = ?", (group_id,)).get
    return number


def add_reading(db: apsw.Connection, note_id: str, session_id: SessionId, at: str) -> None:
    """Record that a session received a note."""
    db.execute("INSERT INTO notes_readings (note_id, session_id, at) VALUES (?, ?, ?)", (note_id, session_id, at))
