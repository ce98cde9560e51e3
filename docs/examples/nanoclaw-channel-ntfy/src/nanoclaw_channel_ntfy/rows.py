"""The plugin's table: how far each topic was read, so that nothing is missed while no host runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

_SCHEMA = """
CREATE TABLE ntfy_positions (
    topic TEXT PRIMARY KEY,
    message_id TEXT NOT NULL        -- the last one that the host has stored
) STRICT
"""


def create_positions(db: apsw.Connection) -> None:
    """Make the table."""
    db.execute(_SCHEMA)


def position(db: apsw.Connection, topic: str) -> str | None:
    """Return the id of the last message that was passed on, or None."""
    found: str | None = db.execute("SELECT message_id FROM ntfy_positions WHERE topic = ?", (topic,)).get
    return found


def set_position(db: apsw.Connection, topic: str, message_id: str) -> None:
    """Note that everything up to a message was passed on."""
    db.execute(
        "INSERT INTO ntfy_positions (topic, message_id) VALUES (?, ?)"
        " ON CONFLICT (topic) DO UPDATE SET message_id = excluded.message_id",
        (topic, message_id),
    )
