"""The plugin's tables: messages that no terminal has shown yet, and the open card.

It also reads the core's table `deliveries`, for the session that a file comes from.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nanoclaw_wire import clock

from nanoclaw_core import Migration

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

_SCHEMA = """
CREATE TABLE terminal_backlog (
    position INTEGER PRIMARY KEY,           -- the order in which they are shown
    id TEXT NOT NULL UNIQUE,                -- the idempotency key, so that a second attempt is kept once
    frame TEXT NOT NULL CHECK (json_valid(frame)),
    kept_at TEXT NOT NULL
) STRICT;
CREATE TABLE terminal_open_card (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    choices TEXT NOT NULL CHECK (json_type(choices) = 'array')   -- the values, in the order of their numbers
) STRICT;
"""


def _make_tables(database: apsw.Connection) -> None:
    database.execute(_SCHEMA)


MIGRATIONS = (Migration(name="backlog and open card", apply=_make_tables),)


def store_undelivered(database: apsw.Connection, message_id: str, frame: str) -> None:
    """Store a message for the next terminal, unless it is stored already."""
    database.execute(
        "INSERT INTO terminal_backlog (id, frame, kept_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (message_id, frame, clock.now_text()),
    )


def undelivered(database: apsw.Connection) -> list[str]:
    """Return the frames of the stored messages, oldest first."""
    return [frame for (frame,) in database.execute("SELECT frame FROM terminal_backlog ORDER BY position")]


def delete(database: apsw.Connection, message_id: str) -> None:
    """Delete a stored message after a terminal has shown it."""
    database.execute("DELETE FROM terminal_backlog WHERE id = ?", (message_id,))


def session_of(database: apsw.Connection, message_id: str) -> str | None:
    """Return the session of a message, or None if the core does not know the message.

    `deliveries.id` is the idempotency key that an adapter gets (docs/schema.md).
    """
    session: str | None = database.execute("SELECT session_id FROM deliveries WHERE id = ?", (message_id,)).get
    return session


def open_card(database: apsw.Connection, values: Sequence[str]) -> None:
    """Store the choices of a card, which a number selects.

    They replace an earlier card's choices.
    """
    database.execute(
        "INSERT INTO terminal_open_card (one, choices) VALUES (1, ?)"
        " ON CONFLICT (one) DO UPDATE SET choices = excluded.choices",
        (json.dumps(list(values)),),
    )


def chosen_value(database: apsw.Connection, text: str) -> str | None:
    """Return the value of the choice with the number `text`, or None if there is none."""
    if not (text.isascii() and text.isdigit()):
        return None
    choices: str | None = database.execute("SELECT choices FROM terminal_open_card").get
    values: list[str] = json.loads(choices) if choices else []
    return values[int(text) - 1] if 1 <= int(text) <= len(values) else None


def close_card(database: apsw.Connection) -> None:
    """Delete the choices, so that a number is ordinary text again."""
    database.execute("DELETE FROM terminal_open_card")
