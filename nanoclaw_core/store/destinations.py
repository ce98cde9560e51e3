"""Destination names: each means one target of one agent group, for ever (I15).

A name is given when the agent is first told about the target, and its row is never changed or removed while the agent
group exists: not if the room is renamed, unwired or deleted. The name then still cannot mean another target.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import apsw
from nanoclaw_wire import clock
from nanoclaw_wire.destination_names import destination_name

from nanoclaw_core.ids import GroupId, MessagingGroupId

_COLUMNS = "m.id, d.name, m.channel, m.room, m.name"
_NAMED = "LEFT JOIN destinations d ON d.agent_group_id = ?1 AND d.target_kind = 'channel' AND d.target_id = m.id"
_WIRED_FIRST = f"""
SELECT {_COLUMNS} FROM wirings w JOIN messaging_groups m ON m.id = w.messaging_group_id {_NAMED}
WHERE w.agent_group_id = ?1 ORDER BY w.created_at, w.rowid LIMIT ?2
"""
_ONE = f"SELECT {_COLUMNS} FROM messaging_groups m {_NAMED} WHERE m.id = ?2"


class Room(NamedTuple):
    """A room that an agent may be told about.

    Args:
        name: The room's destination name; None if it has none yet.
        display_name: What people call it now, or None.
    """

    id: MessagingGroupId
    name: str | None
    channel: str
    room: str
    display_name: str | None


def rooms_of(db: apsw.Connection, group_id: GroupId, own: MessagingGroupId, limit: int) -> list[Room]:
    """Return the agent group's rooms that were wired first, in that order, and a conversation's own room.

    Args:
        own: The room of the conversation; it is added at the end if it is not one of the others.
        limit: How many rooms beside it.
    """
    rooms = [Room(*values) for values in db.execute(_WIRED_FIRST, (group_id, limit))]
    if all(room.id != own for room in rooms):
        rooms += [Room(*values) for values in db.execute(_ONE, (group_id, own))]
    return rooms


def give_names(db: apsw.Connection, group_id: GroupId, rooms: Sequence[Room]) -> None:
    """Name the rooms that have no name yet, in their order; call it in a write transaction.

    A room is called what people call it now, or its channel if they call it nothing: an id of the platform may be
    somebody's phone number. A name that is taken gets a number.
    """
    taken = {name for (name,) in db.execute("SELECT name FROM destinations WHERE agent_group_id = ?", (group_id,))}
    for room in rooms:
        if room.name is None:
            name = _free(destination_name(room.display_name or room.channel), taken)
            taken.add(name)
            query = "INSERT INTO destinations VALUES (?, ?, 'channel', ?, 'auto', ?)"
            db.execute(query, (group_id, name, room.id, clock.now_text()))


def _free(base: str, taken: set[str]) -> str:
    """Return a name that no target has or had, the plain one or one with a number."""
    if base not in taken:
        return base
    return next(name for number in count(2) if (name := f"{base}-{number}") not in taken)
