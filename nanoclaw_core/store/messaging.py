"""Tables of the router: messaging groups, wirings, sticky threads and users."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import apsw
from attrs import field, frozen
from nanoclaw_untrusted import patterns
from nanoclaw_wire import clock

from nanoclaw_core.errors import InvalidArguments
from nanoclaw_core.ids import GroupId, MessagingGroupId, UserId, WiringId, new_id
from nanoclaw_core.store.connection import insert, row, rows

_WIRINGS_OF = "wirings WHERE messaging_group_id = ? ORDER BY priority DESC, created_at, id"


class EngageMode(str, Enum):
    """Rule that decides which messages of a room an agent answers."""

    PATTERN = "pattern"
    MENTION = "mention"
    MENTION_STICKY = "mention-sticky"


class IgnoredPolicy(str, Enum):
    """Use of a message that the agent does not answer."""

    DROP = "drop"
    ACCUMULATE = "accumulate"


class SessionMode(str, Enum):
    """Rule that decides which messages share a conversation."""

    SHARED = "shared"
    PER_THREAD = "per-thread"
    AGENT_SHARED = "agent-shared"


@frozen(kw_only=True)
class MessagingGroup:
    """One chat on one platform."""

    id: MessagingGroupId = field(factory=lambda: MessagingGroupId(new_id("mg")))
    channel: str
    room: str
    name: str | None = None
    is_group: bool = field(default=False, converter=bool)
    created_at: str = field(factory=clock.now_text)


@frozen(kw_only=True)
class Wiring:
    """A connection of a messaging group with an agent group.

    Args:
        engage_pattern: A regular expression for `patterns.search`; set only in mode PATTERN.
        priority: Wirings with a higher priority are served first.
    """

    id: WiringId = field(factory=lambda: WiringId(new_id("wir")))
    messaging_group_id: MessagingGroupId
    agent_group_id: GroupId
    engage_mode: EngageMode = field(default=EngageMode.MENTION, converter=EngageMode)
    engage_pattern: str | None = None
    ignored_policy: IgnoredPolicy = field(default=IgnoredPolicy.DROP, converter=IgnoredPolicy)
    session_mode: SessionMode = field(default=SessionMode.SHARED, converter=SessionMode)
    priority: int = 0
    created_at: str = field(factory=clock.now_text)


@frozen
class WiredRoom:
    """A room as the router reads it for one message.

    Args:
        wirings: Highest priority first, then oldest first.
        knows_sender: True if the sender is stored with the current display name.
    """

    group: MessagingGroup
    wirings: Sequence[Wiring]
    knows_sender: bool


def find(db: apsw.Connection, channel: str, room: str) -> MessagingGroup | None:
    """Return the messaging group of a room, or None."""
    return row(db, MessagingGroup, "messaging_groups WHERE channel = ? AND room = ?", (channel, room))


def find_wired(
    db: apsw.Connection, channel: str, room: str, sender: UserId | None, display_name: str | None
) -> WiredRoom | None:
    """Return a room with its wirings, and whether a message's sender is stored already; None if it is unknown."""
    group = find(db, channel, room)
    if group is None:
        return None
    query = "SELECT 1 FROM users WHERE id = ?1 AND (?2 IS NULL OR display_name IS ?2)"
    wirings = rows(db, Wiring, _WIRINGS_OF, (group.id,))
    return WiredRoom(group, wirings, db.execute(query, (sender, display_name)).fetchone() is not None)


def get(db: apsw.Connection, room_id: MessagingGroupId) -> MessagingGroup | None:
    """Return a messaging group, or None."""
    return row(db, MessagingGroup, "messaging_groups WHERE id = ?", (room_id,))


def add(db: apsw.Connection, group: MessagingGroup) -> MessagingGroup:
    """Store a new messaging group, and return it.

    Raises:
        apsw.ConstraintError: The room already has a messaging group.
    """
    insert(db, "messaging_groups", group)
    return group


def rename(db: apsw.Connection, room_id: MessagingGroupId, name: str) -> None:
    """Store a room's name from its platform (⚠44)."""
    db.execute("UPDATE messaging_groups SET name = ? WHERE id = ?", (name, room_id))


def wire(db: apsw.Connection, wiring: Wiring) -> None:
    """Wire a messaging group to an agent group.

    Raises:
        InvalidArguments: The pattern is invalid or missing, or the mode takes no pattern. Routing therefore never sees
            an invalid pattern.
        apsw.ConstraintError: The pair is already wired, or one of the two does not exist.
    """
    check_pattern(wiring.engage_mode, wiring.engage_pattern)
    insert(db, "wirings", wiring)


def check_pattern(mode: str, pattern: str | None) -> None:
    """Check that a pattern fits its engage mode, compiles and has at most MAX_PATTERN_CHARACTERS.

    Raises:
        InvalidArguments: It does not.
    """
    if mode != EngageMode.PATTERN:
        if pattern is not None:
            raise InvalidArguments(
                f"engage_pattern: only engage mode 'pattern' has one, got {pattern!r}. Remove it with"
                " --engage-pattern=null."
            )
        return
    if not pattern:
        raise InvalidArguments("engage_pattern: engage mode 'pattern' needs one. '.' matches every message.")
    problem = patterns.problem_of(pattern)
    if problem:
        is_long = len(pattern) > patterns.MAX_PATTERN_CHARACTERS
        shown = f"{len(pattern)} characters" if is_long else repr(pattern)
        raise InvalidArguments(f"engage_pattern: it {problem}, got {shown}. {'Shorten' if is_long else 'Correct'} it.")


def wirings_of(db: apsw.Connection, room_id: MessagingGroupId) -> list[Wiring]:
    """Return a room's wirings, highest priority first, then oldest first."""
    return rows(db, Wiring, _WIRINGS_OF, (room_id,))


def rooms_sharing(db: apsw.Connection, group_id: GroupId, limit: int) -> list[MessagingGroup]:
    """Return the rooms that share an agent group's session, in the order of their wirings."""
    source = (
        "messaging_groups WHERE id IN (SELECT messaging_group_id FROM wirings WHERE agent_group_id = ?"
        " AND session_mode = 'agent-shared' ORDER BY created_at, rowid LIMIT ?)"
    )
    return rows(db, MessagingGroup, source, (group_id, limit))


def is_wired(db: apsw.Connection, group_id: GroupId, channel: str, room: str) -> bool:
    """Return True if an agent group is wired to a room."""
    query = "SELECT 1 FROM wirings w JOIN messaging_groups m ON m.id = w.messaging_group_id"
    query = f"{query} WHERE w.agent_group_id = ? AND m.channel = ? AND m.room = ?"
    return db.execute(query, (group_id, channel, room)).fetchone() is not None


def is_sticky(db: apsw.Connection, wiring_id: WiringId, thread: str | None) -> bool:
    """Return True if an agent stays engaged in a thread after a mention; None means the room itself."""
    query = "SELECT 1 FROM sticky_threads WHERE wiring_id = ? AND thread = ?"
    return db.execute(query, (wiring_id, thread or "")).fetchone() is not None


def make_sticky(db: apsw.Connection, wiring_id: WiringId, thread: str | None) -> None:
    """Record a mention of an agent in a thread; it is never guessed from a session (⚠3)."""
    db.execute("INSERT OR IGNORE INTO sticky_threads VALUES (?, ?, ?)", (wiring_id, thread or "", clock.now_text()))


def upsert_user(db: apsw.Connection, user: UserId, channel: str, display_name: str | None) -> None:
    """Store a person with the latest name from the platform."""
    db.execute(
        "INSERT INTO users (id, channel, display_name, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name"
        " WHERE excluded.display_name IS NOT NULL AND excluded.display_name IS NOT display_name",
        (user, channel, display_name, clock.now_text()),
    )
