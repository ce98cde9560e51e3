"""Claims on slots: the pure rules by which people, rooms and agent groups share them.

I14  No person, room or agent group takes the slots of all others, and the owners have one of their own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from enum import Enum

import apsw
from attrs import evolve, frozen
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


ALL, OTHERS = "all", "others"  # counts of all working sandboxes, and of those that work not only for owners


@frozen(kw_only=True)
class Claim:
    """The causes of a sandbox: its slot counts for each of them.

    Args:
        person: The writer of the message that woke it; None if no person did. Beside owners, the first other writer.
        room: The channel and the room of that message; None if it has none.
        group_id: The agent group; None if the instance has no other.
        is_owner: True if one of the owners in the settings wrote a message that is not answered yet.
        has_others: False if only owners have such messages. Another person or a task makes it True.
    """

    person: UserId | None = None
    room: tuple[str | None, str] | None = None
    group_id: GroupId | None = None
    is_owner: bool = False
    has_others: bool = True

    @property
    def keys(self) -> tuple[object, ...]:
        """The keys of the counts that it adds to."""
        causes = (OTHERS if self.has_others else None, self.person, self.room, self.group_id)
        return (ALL, *filter(None, causes))

    def joined_by(self, person: UserId, *, is_owner: bool) -> Claim:
        """Return the claim with a further writer, who cannot make it count only for owners."""
        first = self.person if is_owner or self.has_others else person
        has_others = self.has_others or not is_owner
        return evolve(self, person=first, is_owner=self.is_owner or is_owner, has_others=has_others)


def claim_of(db: apsw.Connection, mailbox: Mailbox, session_id: SessionId, owners: Collection[str]) -> Claim:
    """Return the claim of a session that needs a sandbox, by its waiting messages.

    Raises:
        apsw.Error: A database cannot be read.
    """
    session = sessions.get_active(db, session_id)
    if session is None:
        return Claim()
    rows = [row for row in inbound.waiting(mailbox.inbox.read(session_id), clock.now_text()) if not row.is_host_note]
    writers = [json.loads(row.content).get("sender_id") if row.kind is Kind.CHAT else None for row in rows]
    others = [writer for writer in writers if writer not in owners]
    person = next(filter(None, others or writers), None)
    room = next(((row.channel, row.room) for row in rows if row.room), None)
    has_other_groups = db.execute("SELECT count(*) FROM agent_groups").get > 1
    group_id = session.agent_group_id if has_other_groups else None
    is_owner = len(others) < len(writers)
    return Claim(person=person, room=room, group_id=group_id, is_owner=is_owner, has_others=bool(others) or not writers)


def share_of(count: int) -> int:
    """Return the number of slots that a person may use at once; a room or an agent group may use more at times."""
    return max(2, count // 4)


def reason_to_wait(claim: Claim, taken: Mapping[object, int], count: int) -> WaitReason | None:
    """Return why a conversation must wait for one of `count` slots, or None if it may have the next one.

    A room or an agent group exceeds its share only while more than a share is left for the others. No share applies to
    an owner. One slot of four or more is only for owners. If another person joined an owner there, that conversation
    has to stop for one to which only owners wrote.

    Args:
        claim: The claim of the conversation.
        taken: The number of working sandboxes for each key of their claims.
        count: The number of slots.
    """
    share, left = share_of(count), count - int(count >= 4) - taken.get(OTHERS, 0)
    if not claim.is_owner and claim.person is not None and taken.get(claim.person, 0) >= share:
        return WaitReason.PERSON
    takes_back = left < 0 and not claim.has_others  # the slot of the owners, in which others joined one
    if taken.get(ALL, 0) >= count + takes_back or (left <= 0 and not claim.is_owner):
        return WaitReason.ALL
    if claim.is_owner or left > share:
        return None
    if taken.get(claim.room, 0) >= share:
        return WaitReason.ROOM
    return WaitReason.GROUP if taken.get(claim.group_id, 0) >= share else None
