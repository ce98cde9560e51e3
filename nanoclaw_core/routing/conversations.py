"""Which session a message belongs to. The decision is pure; finding or making the session is under a unique key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import apsw
from nanoclaw_wire.inbound import Destination, Routing

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.ids import GroupId, MessagingGroupId
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.mailbox.inbox import Addresses
from nanoclaw_core.store import sessions
from nanoclaw_core.store.messaging import MessagingGroup, SessionMode, Wiring
from nanoclaw_core.store.sessions import Session

AGENT_CONVERSATION = "agent"


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
    return made


Place = tuple[str, str, str | None]


def addresses_of(session: Session, address: Address, room_name: str | None, wired: Sequence[Place] = ()) -> Addresses:
    """Return where a session's own conversation is, and its destinations: that conversation, and the agent's rooms.

    Args:
        wired: Channel, room and name of the rooms that the agent group is wired to: a wiring makes a destination (⚠17).

    A session of one room stays there; an agent-shared one follows the message it last got, so that its questions and
    replies never lack an address (⚠37).
    """
    thread = address.thread if session.messaging_group_id is None else session.thread
    routing = Routing(channel=address.channel, room=address.room, thread=thread)
    return Addresses(routing, _destinations(((address.channel, address.room, room_name), *wired)))


@lru_cache(maxsize=1_024)  # asked for every message, and the same for all of a conversation
def _destinations(places: Sequence[Place]) -> tuple[Destination, ...]:
    shown = {(channel, room): name for channel, room, name in places}
    found: dict[str, Destination] = {}
    for (channel, room), display in shown.items():
        base = destination_name(display or channel)
        numbered = (f"{base}-{number}" for number in range(2, len(shown) + 2))
        name = next(name for name in (base, *numbered) if name not in found)
        found[name] = Destination(name=name, kind="channel", display_name=display, channel=channel, room=room)
    return tuple(found.values())


def destination_name(text: str) -> str:
    """Return a text as a destination name: lower-case letters, digits, single hyphens; `chat` where nothing is left."""
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return "-".join(words)[:60].strip("-") or "chat"
