"""The plugin's tables: messages that nobody has seen yet, and the one card that waits for a number.

Of the core's tables it reads `deliveries`, to learn which session a file comes from.
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


def keep(database: apsw.Connection, message_id: str, frame: str) -> None:
    """Keep a message for whoever attaches next; one that is kept already stays as it is."""
    database.execute(
        "INSERT INTO terminal_backlog (id, frame, kept_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (message_id, frame, clock.now_text()),
    )


def kept(database: apsw.Connection) -> list[str]:
    """Return the frames that nobody has seen, oldest first."""
    return [frame for (frame,) in database.execute("SELECT frame FROM terminal_backlog ORDER BY position")]


def forget(database: apsw.Connection, message_id: str) -> None:
    """Drop a message that was seen."""
    database.execute("DELETE FROM terminal_backlog WHERE id = ?", (message_id,))


def session_of(database: apsw.Connection, message_id: str) -> str | None:
    """Return the session that a message comes from, or None if the core does not know the message.

    `deliveries.id` is the idempotency key that an adapter gets (docs/schema.md).
    """
    session: str | None = database.execute("SELECT session_id FROM deliveries WHERE id = ?", (message_id,)).get
    return session


def open_card(database: apsw.Connection, values: Sequence[str]) -> None:
    """Make these the choices that a number answers, in place of an earlier card's."""
    database.execute(
        "INSERT INTO terminal_open_card (one, choices) VALUES (1, ?)"
        " ON CONFLICT (one) DO UPDATE SET choices = excluded.choices",
        (json.dumps(list(values)),),
    )


def choice(database: apsw.Connection, text: str) -> str | None:
    """Return the value of the choice that a text names by its number, or None."""
    if not (text.isascii() and text.isdigit()):
        return None
    choices: str | None = database.execute("SELECT choices FROM terminal_open_card").get
    values: list[str] = json.loads(choices) if choices else []
    return values[int(text) - 1] if 1 <= int(text) <= len(values) else None


def close_card(database: apsw.Connection) -> None:
    """Forget the choices; a number is a number again."""
    database.execute("DELETE FROM terminal_open_card")
