"""Conversations: the session of a message, and the destinations of its agent.

The decision is pure. A unique key protects the creation of a session and of a destination name (I15).
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
MAX_DESTINATIONS = 32  # rooms of an agent beside its own; each is in every prompt and in every session


def effective_mode(wiring: Wiring, *, has_threads: bool, is_group: bool) -> SessionMode:
    """Return the session mode of a message. In a group of a threaded platform each thread is a conversation."""
    if has_threads and is_group and wiring.session_mode is not SessionMode.AGENT_SHARED:
        return SessionMode.PER_THREAD
    return wiring.session_mode


def conversation_key(mode: SessionMode, room_id: MessagingGroupId, thread: str | None) -> str:
    """Return the key of a conversation, unique among the sessions of an agent group."""
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
    """Return the session of a conversation. Create it with its files if it does not exist.

    A new session names its agent's rooms in its own commit, so a first message needs no further commit. An agent-shared
    session is a kind of its own: no other session of the agent group stands for it (⚠37).
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


def named_rooms(db: apsw.Connection, group_id: GroupId, own: MessagingGroupId) -> Sequence[Room]:
    """Return the rooms that an agent may write to in a conversation, its own among them, each with a name.

    A room without a name gets one here, once per agent group and room.
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
    """Return the address of a session's conversation, and its destinations.

    A session of one room stays there. An agent-shared session follows its last message, so its questions and replies
    always have an address (⚠37).

    Args:
        rooms: The rooms of `named_rooms`. A wiring makes a destination (⚠17).
    """
    thread = address.thread if session.messaging_group_id is None else session.thread
    routing = Routing(channel=address.channel, room=address.room, thread=thread)
    return Addresses(routing, _destinations(tuple(rooms)))


@lru_cache(maxsize=1_024)  # needed for each message, and equal for all messages of a conversation
def _destinations(rooms: tuple[Room, ...]) -> tuple[Destination, ...]:
    return tuple(
        Destination(
            name=room.name, kind="channel", display_name=room.display_name, channel=room.channel, room=room.room
        )
        for room in rooms
        if room.name is not None
    )
