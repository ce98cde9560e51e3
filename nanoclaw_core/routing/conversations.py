"""Conversations: the session of a message, and the destinations of its agent.

A unique key protects the creation of a session and of a destination name (I15).
"""

from __future__ import annotations

from functools import lru_cache

import apsw
from nanoclaw_wire.inbound import Destination, Routing

from nanoclaw_core.descriptors.channels import Channel
from nanoclaw_core.ids import MessagingGroupId
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.inbox import Addresses
from nanoclaw_core.routing.incoming import IncomingMessage
from nanoclaw_core.store import destinations, sessions
from nanoclaw_core.store.destinations import Room
from nanoclaw_core.store.messaging import MessagingGroup, SessionMode, Wiring
from nanoclaw_core.store.sessions import Session

AGENT_CONVERSATION = "agent"


def open_conversation(
    db: apsw.Connection, directories: SessionDirectories, message: IncomingMessage, room: MessagingGroup, wiring: Wiring
) -> tuple[Session, Addresses]:
    """Return the session of a message, and its addresses. Create the session with its files if it does not exist.

    A session of one room stays there. An agent-shared session follows its last message, so its questions and replies
    always have an address (⚠37). Each wiring of the agent makes a destination (⚠17).
    """
    address, group_id = message.address, wiring.agent_group_id
    mode = _session_mode(message.channel, room, wiring)
    key = _conversation_key(mode, room.id, address.thread)
    session = sessions.find(db, group_id, key)
    if session is None:
        # An agent-shared session is a kind of its own: no other session of the agent group stands for it (⚠37).
        session = Session(
            agent_group_id=group_id,
            messaging_group_id=None if mode is SessionMode.AGENT_SHARED else room.id,
            thread=address.thread if mode is SessionMode.PER_THREAD else None,
            conversation=key,
        )
        with db:
            sessions.add(db, session)
            directories.create(session.id)
            destinations.give_names(db, group_id, room.id)  # in the same commit, so a first message needs no other
    rooms = destinations.named_rooms(db, group_id, room.id)
    thread = address.thread if session.messaging_group_id is None else session.thread
    routing = Routing(channel=address.channel, room=address.room, thread=thread)
    return session, Addresses(routing, _destinations(tuple(rooms)))


def _session_mode(channel: Channel, room: MessagingGroup, wiring: Wiring) -> SessionMode:
    """Return the session mode of a message. In a group of a threaded platform each thread is a conversation."""
    if channel.has_threads and room.is_group and wiring.session_mode is not SessionMode.AGENT_SHARED:
        return SessionMode.PER_THREAD
    return wiring.session_mode


def _conversation_key(mode: SessionMode, room_id: MessagingGroupId, thread: str | None) -> str:
    """Return the key of a conversation, unique among the sessions of an agent group."""
    if mode is SessionMode.AGENT_SHARED:
        return AGENT_CONVERSATION
    if mode is SessionMode.PER_THREAD and thread:
        return f"thread:{room_id}:{thread}"
    return f"room:{room_id}"


@lru_cache(maxsize=1_024)  # needed for each message, and equal for all messages of a conversation
def _destinations(rooms: tuple[Room, ...]) -> tuple[Destination, ...]:
    return tuple(
        Destination(
            name=room.name, kind="channel", display_name=room.display_name, channel=room.channel, room=room.room
        )
        for room in rooms
        if room.name is not None
    )
