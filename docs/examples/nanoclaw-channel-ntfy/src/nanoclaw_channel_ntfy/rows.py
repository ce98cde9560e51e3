"""The table of the plugin: the read position of each topic, so that no message is missed while no host runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

_SCHEMA = """
CREATE TABLE ntfy_positions (
    topic TEXT PRIMARY KEY,
    message_id TEXT NOT NULL        -- the last message that the host has stored
) STRICT
"""


def create_positions(db: apsw.Connection) -> None:
    """Create the table."""
    db.execute(_SCHEMA)


def position(db: apsw.Connection, topic: str) -> str | None:
    """Return the id of the last message that was passed on, or None."""
    message_id: str | None = db.execute("SELECT message_id FROM ntfy_positions WHERE topic = ?", (topic,)).get
    return message_id


def set_position(db: apsw.Connection, topic: str, message_id: str) -> None:
    """Record that all messages up to this one were passed on."""
    db.execute(
        "INSERT INTO ntfy_positions (topic, message_id) VALUES (?, ?)"
        " ON CONFLICT (topic) DO UPDATE SET message_id = excluded.message_id",
        (topic, message_id),
    )
