"""Destination names: each means one target of one agent group, for ever (I15).

A target gets its name before the agent first reads of it. The row never changes while the agent group exists, even if
the room is renamed, unwired or deleted, so the name cannot mean another target later.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

import apsw
from nanoclaw_wire import clock
from nanoclaw_wire.destination_names import destination_name
from nanoclaw_wire.outbound import immediate

from nanoclaw_core.ids import GroupId, MessagingGroupId

MAX_DESTINATIONS = 32  # rooms of an agent beside its own; each is in every prompt and in every session
_COLUMNS = "m.id, d.name, m.channel, m.room, m.name"
_NAMED = "LEFT JOIN destinations d ON d.agent_group_id = ?1 AND d.target_kind = 'channel' AND d.target_id = m.id"
_WIRED_FIRST = f"""
SELECT {_COLUMNS} FROM wirings w JOIN messaging_groups m ON m.id = w.messaging_group_id {_NAMED}
WHERE w.agent_group_id = ?1 ORDER BY w.created_at, w.rowid LIMIT ?2
"""
_ONE = f"SELECT {_COLUMNS} FROM messaging_groups m {_NAMED} WHERE m.id = ?2"


class Room(NamedTuple):
    """A room that an agent may write to.

    Args:
        name: The room's destination name; None if it has none yet.
        display_name: The room's current name on its platform, or None.
    """

    id: MessagingGroupId
    name: str | None
    channel: str
    room: str
    display_name: str | None


def named_rooms(db: apsw.Connection, group_id: GroupId, own: MessagingGroupId) -> list[Room]:
    """Return the rooms that an agent may write to in a conversation, each with a name.

    They are in the order of their wirings. The conversation's room `own` comes last if it is not among the others. A
    room without a name gets one here, once per agent group and room.
    """
    rooms = _rooms_of(db, group_id, own)
    if all(room.name for room in rooms):
        return rooms
    with immediate(db):
        give_names(db, group_id, own)
    return _rooms_of(db, group_id, own)


def give_names(db: apsw.Connection, group_id: GroupId, own: MessagingGroupId) -> None:
    """Name the rooms of `named_rooms` that have no name yet, in their order; call it in a write transaction.

    The name is the room's display name, or its channel if it has none, because a platform's id may be a phone number.
    If the name exists already, a number is added.
    """
    taken = {name for (name,) in db.execute("SELECT name FROM destinations WHERE agent_group_id = ?", (group_id,))}
    for room in _rooms_of(db, group_id, own):
        if room.name is None:
            name = _free(destination_name(room.display_name or room.channel), taken)
            taken.add(name)
            query = "INSERT INTO destinations VALUES (?, ?, 'channel', ?, 'auto', ?)"
            db.execute(query, (group_id, name, room.id, clock.now_text()))


def _rooms_of(db: apsw.Connection, group_id: GroupId, own: MessagingGroupId) -> list[Room]:
    rooms = [Room(*values) for values in db.execute(_WIRED_FIRST, (group_id, MAX_DESTINATIONS))]
    if all(room.id != own for room in rooms):
        rooms += [Room(*values) for values in db.execute(_ONE, (group_id, own))]
    return rooms


def _free(base: str, taken: set[str]) -> str:
    """Return the base name, or the base name with a number if a target has or had it."""
    if base not in taken:
        return base
    return next(name for number in count(2) if (name := f"{base}-{number}") not in taken)
