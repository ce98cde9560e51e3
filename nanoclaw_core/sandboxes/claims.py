"""Claims on slots: the pure rules by which people, rooms and agent groups share them.

I14  No person, room or agent group takes the slots of all others, and the owners have one of their own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from enum import Enum

import apsw
from attrs import frozen
from nanoclaw_wire import clock, inbound
from nanoclaw_wire.inbound import Kind

from nanoclaw_core.ids import GroupId, SessionId, UserId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.store import sessions


class WaitReason(str, Enum):
    """The reason of a wait for a slot, in the words of `ncl status` and of channels that show a status."""

    ALL = "all slots are in use"
    PERSON = "the person has as many conversations at work as one may have"
    ROOM = "the room has its share of the slots at work"
    GROUP = "the agent group has its share of the slots at work"


ALL, OTHERS = "all", "others"  # counts of all working sandboxes, and of those that work for no owner


@frozen(kw_only=True)
class Claim:
    """The causes of a sandbox: its slot counts for each of them.

    Args:
        person: The writer of the message that woke it; None if no person did.
        room: The channel and the room of that message; None if it has none.
        group_id: The agent group; None if the instance has no other.
        is_owner: True if the person is one of the owners in the settings.
    """

    person: UserId | None = None
    room: tuple[str | None, str] | None = None
    group_id: GroupId | None = None
    is_owner: bool = False

    @property
    def keys(self) -> tuple[object, ...]:
        """The keys of the counts that it adds to."""
        causes = (None if self.is_owner else OTHERS, self.person, self.room, self.group_id)
        return (ALL, *filter(None, causes))


def claim_of(db: apsw.Connection, mailbox: Mailbox, session_id: SessionId, owners: Collection[str]) -> Claim:
    """Return the claim of a session that needs a sandbox, by the first of its waiting messages from people.

    Raises:
        apsw.Error: A database cannot be read.
    """
    session = sessions.get_active(db, session_id)
    if session is None:
        return Claim()
    waiting = inbound.waiting(mailbox.inbox.read(session_id), clock.now_text())
    chats = [message for message in waiting if message.kind is Kind.CHAT and not message.is_host_note]
    person = json.loads(chats[0].content).get("sender_id") if chats else None
    room = next(((message.channel, message.room) for message in chats or waiting if message.room), None)
    is_only_group = db.execute("SELECT count(*) FROM agent_groups").get == 1
    group_id = None if is_only_group else session.agent_group_id
    return Claim(person=person, room=room, group_id=group_id, is_owner=person in owners)


def share_of(count: int) -> int:
    """Return the number of slots that a person may use at once; a room or an agent group may use more at times."""
    return max(2, count // 4)


def reason_to_wait(claim: Claim, taken: Mapping[object, int], count: int) -> WaitReason | None:
    """Return why a conversation must wait for one of `count` slots, or None if it may have the next one.

    A room or an agent group exceeds its share only while more than a share is left for the others. Neither limit
    applies to an owner. One slot of four or more is only for owners.

    Args:
        claim: The claim of the conversation.
        taken: The number of working sandboxes for each key of their claims.
        count: The number of slots.
    """
    share, left = share_of(count), count - int(count >= 4) - taken.get(OTHERS, 0)
    if claim.person is not None and taken.get(claim.person, 0) >= share:
        return WaitReason.PERSON
    if taken.get(ALL, 0) >= count or (left <= 0 and not claim.is_owner):
        return WaitReason.ALL
    if claim.is_owner or left > share:
        return None
    if taken.get(claim.room, 0) >= share:
        return WaitReason.ROOM
    return WaitReason.GROUP if taken.get(claim.group_id, 0) >= share else None
