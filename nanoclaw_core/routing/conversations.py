"""Which session a message belongs to, and the rooms that its agent is told about.

The decision is pure; finding or making the session is under a unique key, and so is giving a name (I15).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import apsw
from nanoclaw_wire.inbound import Destination, Routing
from nanoclaw_wire.outbound import immediate

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.ids import GroupId, MessagingGroupId
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.inbox import Addresses
from nanoclaw_core.store import destinations, sessions
from nanoclaw_core.store.destinations import Room
from nanoclaw_core.store.messaging import MessagingGroup, SessionMode, Wiring
from nanoclaw_core.store.sessions import Session

AGENT_CONVERSATION = "agent"
MAX_DESTINATIONS = 32  # rooms beside its own that an agent is told about: each is in every prompt and in every session


def effective_mode(wiring: Wiring, *, has_threads: bool, is_group: bool) -> SessionMode:
    """Return the session mode that counts: in a group of a threaded platform each thread is a conversation."""
    if has_threads and is_group and wiring.session_mode is not SessionMode.AGENT_SHARED:
        return SessionMode.PER_THREAD
    return wiring.session_mode


def conversation_key(mode: SessionMode, room_id: MessagingGroupId, thread: str | None) -> str:
    """Return what makes a conversation one among an agent group's sessions."""
    if mode is SessionMode.AGENT_SHARED:
        return AGENT_CONVERSATION
    if mode is SessionMode.PER_THREAD and thread:
        return f"thread:{room_id}:{thread}"
    return f"room:{room_id}"


def find_or_create(
    db: apsw.Connection,
    directories: SessionDirectories,
    group_id: GroupId,
    room: MessagingGroup,
    mode: SessionMode,
    thread: str | None,
) -> Session:
    """Return the session of a conversation, made with its files where there was none.

    A new session names its agent's rooms in its own commit, so that a first message costs no commit more.
    An agent-shared session is its own kind: no other session of the agent group is ever taken for it (⚠37).
    """
    key = conversation_key(mode, room.id, thread)
    found = sessions.find(db, group_id, key)
    if found is not None:
        return found
    made = Session(
        agent_group_id=group_id,
        messaging_group_id=None if mode is SessionMode.AGENT_SHARED else room.id,
        thread=thread if mode is SessionMode.PER_THREAD else None,
        conversation=key,
    )
    with db:
        sessions.add(db, made)
        directories.create(made.id)
        _give_names(db, group_id, room.id)
    return made


def rooms_told(db: apsw.Connection, group_id: GroupId, own: MessagingGroupId) -> Sequence[Room]:
    """Return the rooms that an agent is told about in a conversation, its own among them, each with a name.

    A room without a name gets one here; that happens once per agent group and room.
    """
    rooms = destinations.rooms_of(db, group_id, own, MAX_DESTINATIONS)
    if all(room.name for room in rooms):
        return rooms
    with immediate(db):
        _give_names(db, group_id, own)
    return destinations.rooms_of(db, group_id, own, MAX_DESTINATIONS)


def _give_names(db: apsw.Connection, group_id: GroupId, own: MessagingGroupId) -> None:
    destinations.give_names(db, group_id, destinations.rooms_of(db, group_id, own, MAX_DESTINATIONS))


def addresses_of(session: Session, address: Address, rooms: Sequence[Room]) -> Addresses:
    """Return where a session's own conversation is, and its destinations.

    Args:
        rooms: As `rooms_told` returns them. A wiring makes a destination (⚠17).

    A session of one room stays there; an agent-shared one follows the message it last got, so that its questions and
    replies never lack an address (⚠37).
    """
    thread = address.thread if session.messaging_group_id is None else session.thread
    routing = Routing(channel=address.channel, room=address.room, thread=thread)
    return Addresses(routing, _destinations(tuple(rooms)))


@lru_cache(maxsize=1_024)  # asked for every message, and the same for all of a conversation
def _destinations(rooms: tuple[Room, ...]) -> tuple[Destination, ...]:
    return tuple(
        Destination(
            name=room.name, kind="channel", display_name=room.display_name, channel=room.channel, room=room.room
        )
        for room in rooms
        if room.name is not None
    )
