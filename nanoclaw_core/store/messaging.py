"""What the router reads and writes: messaging groups, wirings, stickiness, users and dropped messages."""

from __future__ import annotations

import logging
from enum import Enum

import apsw
from attrs import field, frozen
from nanoclaw_wire import clock

from nanoclaw_core import patterns
from nanoclaw_core.errors import InvalidArguments
from nanoclaw_core.ids import GroupId, MessagingGroupId, UserId, WiringId, new_id
from nanoclaw_core.store.connection import insert, row, rows

log = logging.getLogger(__name__)


class EngageMode(str, Enum):
    """When an agent answers in a room."""

    PATTERN = "pattern"
    MENTION = "mention"
    MENTION_STICKY = "mention-sticky"


class IgnoredPolicy(str, Enum):
    """What becomes of a message the agent does not answer."""

    DROP = "drop"
    ACCUMULATE = "accumulate"


class SessionMode(str, Enum):
    """Which messages share a conversation."""

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
    """A messaging group tied to an agent group, and how.

    Args:
        engage_pattern: A regular expression, searched as `patterns.search` says; set in mode PATTERN and only then.
        priority: The higher one is served first.
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


@frozen(kw_only=True)
class DroppedMessage:
    """A message that was turned down. `sender` is empty where the platform cannot say."""

    channel: str
    room: str
    sender: str
    sender_name: str | None
    reason: str
    agent_group_id: str = ""


def find(db: apsw.Connection, channel: str, room: str) -> MessagingGroup | None:
    """Return the messaging group of a room, or None."""
    return row(db, MessagingGroup, "messaging_groups WHERE channel = ? AND room = ?", (channel, room))


def get(db: apsw.Connection, room_id: MessagingGroupId) -> MessagingGroup | None:
    """Return a messaging group, or None."""
    return row(db, MessagingGroup, "messaging_groups WHERE id = ?", (room_id,))


def add(db: apsw.Connection, group: MessagingGroup) -> MessagingGroup:
    """Store a new messaging group, and return it.

    Raises:
        apsw.ConstraintError: The room has one already.
    """
    insert(db, "messaging_groups", group)
    return group


def rename(db: apsw.Connection, room_id: MessagingGroupId, name: str) -> None:
    """Keep a room's name as the platform says it (⚠44)."""
    db.execute("UPDATE messaging_groups SET name = ? WHERE id = ?", (name, room_id))


def wire(db: apsw.Connection, wiring: Wiring) -> None:
    """Tie a messaging group to an agent group.

    Raises:
        InvalidArguments: The pattern does not compile, is missing, or is given with a mode that takes none. Refusing it
            here means that routing never has to guess what a broken one means.
        apsw.ConstraintError: The pair is wired already, or one of the two does not exist.
    """
    check_pattern(wiring.engage_mode, wiring.engage_pattern)
    insert(db, "wirings", wiring)


def check_pattern(mode: str, pattern: str | None) -> None:
    """Insist that mode and pattern fit, and that the pattern compiles and is no longer than MAX_PATTERN_CHARACTERS.

    Raises:
        InvalidArguments: They do not.
    """
    if mode != EngageMode.PATTERN:
        if pattern is not None:
            raise InvalidArguments(
                f"a pattern ({pattern!r}) goes with engage mode 'pattern' alone; --engage-pattern=null removes it"
            )
        return
    if not pattern:
        raise InvalidArguments("engage mode 'pattern' needs a pattern; '.' engages for every message")
    problem = patterns.problem_of(pattern)
    if problem:
        is_long = len(pattern) > patterns.MAX_PATTERN_CHARACTERS
        shown = f"{len(pattern)} characters" if is_long else repr(pattern)
        raise InvalidArguments(f"engage_pattern: it {problem}, got {shown}. {'Shorten' if is_long else 'Correct'} it.")


def wirings_of(db: apsw.Connection, room_id: MessagingGroupId) -> list[Wiring]:
    """Return a room's wirings, highest priority first, then oldest first."""
    found = rows(db, Wiring, "wirings WHERE messaging_group_id = ?", (room_id,))
    return sorted(found, key=lambda wiring: (-wiring.priority, wiring.created_at, wiring.id))


def rooms_sharing(db: apsw.Connection, group_id: GroupId, limit: int) -> list[MessagingGroup]:
    """Return the rooms whose messages go to an agent group's shared session, the ones that were wired first."""
    source = (
        "messaging_groups WHERE id IN (SELECT messaging_group_id FROM wirings WHERE agent_group_id = ?"
        " AND session_mode = 'agent-shared' ORDER BY created_at, rowid LIMIT ?)"
    )
    return rows(db, MessagingGroup, source, (group_id, limit))


def is_wired(db: apsw.Connection, group_id: GroupId, channel: str, room: str) -> bool:
    """Say whether an agent group is wired to a room."""
    query = "SELECT 1 FROM wirings w JOIN messaging_groups m ON m.id = w.messaging_group_id"
    query = f"{query} WHERE w.agent_group_id = ? AND m.channel = ? AND m.room = ?"
    return db.execute(query, (group_id, channel, room)).fetchone() is not None


def is_sticky(db: apsw.Connection, wiring_id: WiringId, thread: str | None) -> bool:
    """Say whether an agent was mentioned in a thread (None: the room itself) and stays engaged there."""
    query = "SELECT 1 FROM sticky_threads WHERE wiring_id = ? AND thread = ?"
    return db.execute(query, (wiring_id, thread or "")).fetchone() is not None


def make_sticky(db: apsw.Connection, wiring_id: WiringId, thread: str | None) -> None:
    """Note that an agent was mentioned in a thread (⚠3: stored as itself, not guessed from a session)."""
    db.execute("INSERT OR IGNORE INTO sticky_threads VALUES (?, ?, ?)", (wiring_id, thread or "", clock.now_text()))


def upsert_user(db: apsw.Connection, user: UserId, channel: str, display_name: str | None) -> None:
    """Keep a person's identity and the name the platform gives last."""
    db.execute(
        "INSERT INTO users (id, channel, display_name, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET display_name = excluded.display_name"
        " WHERE excluded.display_name IS NOT NULL AND excluded.display_name IS NOT display_name",
        (user, channel, display_name, clock.now_text()),
    )


def record_drop(db: apsw.Connection, drop: DroppedMessage) -> None:
    """Count a refused message under its reason and sender (⚠19)."""
    log.info("message dropped", extra={"reason": drop.reason, "group": drop.agent_group_id})
    now = clock.now_text()
    db.execute(
        "INSERT INTO dropped_messages (channel, room, sender, sender_name, reason, agent_group_id, first_at, last_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + 1, last_at = excluded.last_at,"
        " sender_name = coalesce(excluded.sender_name, sender_name)",
        (drop.channel, drop.room, drop.sender, drop.sender_name, drop.reason, drop.agent_group_id, now, now),
    )
