"""inbound.db: rows from the host to the runner. Only the host writes them (I1); both sides use these functions.

Every function is one statement, or one transaction if its docstring says so, on a connection from `session_files`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

import apsw
from attrs import asdict, field, frozen

AGENT_CHANNEL = "agent"
"""The channel of messages from other agents. Its rooms are ids of agent groups."""
BEGINNING_OF_TIME = "0001-01-01T00:00:00.000Z"
"""The time from which a message without a time of its own is due."""


class Kind(str, Enum):
    """The kind of an inbound message. A SYSTEM row answers a waiting tool and never starts a turn by itself."""

    CHAT = "chat"
    TASK = "task"
    WEBHOOK = "webhook"
    SYSTEM = "system"


class Status(str, Enum):
    """The state of an inbound message. It leaves PENDING only after its turn ended or it failed for good (I3)."""

    PENDING = "pending"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"


@frozen(kw_only=True)
class NewInbound:
    """A message to store in inbound.db.

    Args:
        id: Unique in the session. A second message with the same id is the same message.
        kind: See `Kind`.
        at: The message's time, clock text form.
        content: A JSON object as text. For CHAT: `text`, `sender`, `sender_id`, and optionally `attachments`
            (`[{name, type, mime_type, size_bytes, path | url | problem}]`, path below `in/`) and `reply_to`
            (`{id, sender, text}`).
            For SYSTEM: `type`, `request_id` and the answer.
        process_after: The earliest time to process it, clock text form; None for at once.
        trigger: False for context only: the message starts no turn and joins the next one that does.
        on_wake: True if only the first poll of a fresh runner may see it (I5).
        channel: With `room` and `thread`, the address that it came from. See `AGENT_CHANNEL` for messages of agents.
            A CHAT row without channel and room is a note of the host; rows of people and agents always have both.
        platform_message_id: The platform's own id, for edits and reactions; None if it has none.
        correlation_id: The id in every log line of the message, from arrival to delivery.
    """

    id: str
    kind: Kind
    at: str
    content: str
    process_after: str | None = None
    trigger: bool = True
    on_wake: bool = False
    channel: str | None = None
    room: str | None = None
    thread: str | None = None
    platform_message_id: str | None = None
    correlation_id: str | None = None
    source_session_id: str | None = None
    series_id: str | None = None
    recurrence: str | None = None


@frozen(kw_only=True)
class InboundMessage(NewInbound):
    """A row of messages_in.

    Args:
        seq: The even number that the agent sees as the message's id.
        tries: The number of runners that died or hung while they processed it.
    """

    seq: int
    status: Status = Status.PENDING
    tries: int = 0

    @property
    def is_host_note(self) -> bool:
        """True if the host itself speaks. The row's address decides it, never a name that people choose."""
        return self.kind is Kind.CHAT and self.channel is None and self.room is None


class RoomAddress(NamedTuple):
    """A channel and a room, as rows name them. For another agent: `AGENT_CHANNEL` and the id of its group."""

    channel: str
    room: str


@frozen(kw_only=True)
class Destination:
    """A named address to which an agent may write.

    Args:
        name: The name that the agent writes in `to="…"`.
        kind: `channel` if channel and room are set, `agent` if agent_group_id is set.

    Attributes:
        address: The channel and the room of rows from and to it.
    """

    name: str
    kind: str
    display_name: str | None = None
    channel: str | None = None
    room: str | None = None
    agent_group_id: str | None = None
    address: RoomAddress = field(init=False, eq=False, repr=False)

    @address.default
    def _address(self) -> RoomAddress:
        if self.kind == "agent":
            return RoomAddress(AGENT_CHANNEL, self.agent_group_id or "")
        return RoomAddress(self.channel or "", self.room or "")


@frozen(kw_only=True)
class Routing:
    """The address of a session's own conversation; all None for a session without a chat."""

    channel: str | None = None
    room: str | None = None
    thread: str | None = None


_COLUMNS = (
    "seq, id, kind, at, status, process_after, tries, trigger, on_wake, channel, room, thread,"
    " platform_message_id, correlation_id, source_session_id, series_id, recurrence, content"
)
_WAKES = "status = 'pending' AND trigger = 1 AND kind <> 'system'"
_WAKES_NOW = f"{_WAKES} AND (process_after IS NULL OR process_after <= ?)"
_INSERT = """
INSERT INTO messages_in (seq, id, kind, at, process_after, trigger, on_wake, channel, room, thread,
                         platform_message_id, correlation_id, source_session_id, series_id, recurrence, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""


def next_even(highest_inbound: int | None) -> int:
    """Return the host's next number, above the highest in its own file; None if the file is empty (I2).

    The host's numbers are even and the runner's are odd, so the number that an agent reads and writes as the id of a
    message is unique in the session. Call this inside the transaction that uses the number (⚠36).
    """
    if highest_inbound is None or highest_inbound < 2:
        return 2
    return highest_inbound + 2 - highest_inbound % 2


def append(db: apsw.Connection, messages: Iterable[NewInbound]) -> list[int]:
    """Store messages in one transaction, and return their numbers in the same order.

    If the id of a message exists, its row and its number stay, so a repeated write is harmless (⚠21).

    Raises:
        apsw.Error: Nothing was stored.
    """
    numbers: list[int] = []
    with db:
        seq = next_even(highest(db))
        for message in messages:
            db.execute(_INSERT, _values(seq, message))
            if db.changes():
                numbers.append(seq)
                seq = next_even(seq)
            else:
                numbers.append(db.execute("SELECT seq FROM messages_in WHERE id = ?", (message.id,)).get)
    return numbers


def pending(
    db: apsw.Connection, *, now: str, fresh: bool, without: Collection[int], limit: int
) -> list[InboundMessage]:
    """Return the messages that a runner may take, oldest first: pending, due and not yet taken.

    Args:
        db: A connection to inbound.db.
        now: Clock text form.
        fresh: True for the first poll of a fresh runner, which alone sees on_wake rows (I5).
        without: The numbers already acknowledged. They are skipped *before* the limit counts (⚠7).
        limit: Maximum number of messages.
    """
    query = (
        f"SELECT {_COLUMNS} FROM messages_in"
        " WHERE status = 'pending' AND (process_after IS NULL OR process_after <= ?) AND on_wake <= ? ORDER BY seq"
    )
    messages: list[InboundMessage] = []
    for row in db.execute(query, (now, int(fresh))):
        if row[0] not in without:
            messages.append(_message(row))
            if len(messages) == limit:
                break
    return messages


def by_seq(db: apsw.Connection, seq: int) -> InboundMessage | None:
    """Return the message with this number, or None if there is none."""
    row = db.execute(f"SELECT {_COLUMNS} FROM messages_in WHERE seq = ?", (seq,)).fetchone()
    return _message(row) if row else None


def by_id(db: apsw.Connection, message_id: str) -> InboundMessage | None:
    """Return the message with this id, or None if there is none."""
    row = db.execute(f"SELECT {_COLUMNS} FROM messages_in WHERE id = ?", (message_id,)).fetchone()
    return _message(row) if row else None


def latest(db: apsw.Connection, limit: int) -> Iterable[InboundMessage]:
    """Yield the latest messages of any status, newest first."""
    query = f"SELECT {_COLUMNS} FROM messages_in ORDER BY seq DESC LIMIT ?"
    return (_message(row) for row in db.execute(query, (limit,)))


def highest(db: apsw.Connection) -> int | None:
    """Return the highest number, or None if the file is empty."""
    number: int | None = db.execute("SELECT max(seq) FROM messages_in").get
    return number


def latest_from(db: apsw.Connection, channel: str, room: str) -> InboundMessage | None:
    """Return the most recent message from a room, or None if there is none."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM messages_in WHERE channel = ? AND room = ? ORDER BY seq DESC LIMIT 1", (channel, room)
    ).fetchone()
    return _message(row) if row else None


def recent_addresses(db: apsw.Connection, *, rows: int, limit: int) -> list[tuple[str, str, str | None]]:
    """Return the channel, room and thread of the chats that wrote last, the most recent first.

    Args:
        db: A connection to inbound.db.
        rows: The number of latest rows to search.
        limit: Maximum number of addresses.
    """
    query = (
        "SELECT channel, room, thread FROM (SELECT * FROM messages_in ORDER BY seq DESC LIMIT ?)"
        " WHERE channel <> ? AND room IS NOT NULL GROUP BY channel, room, thread ORDER BY max(seq) DESC LIMIT ?"
    )
    return [(channel, room, thread) for channel, room, thread in db.execute(query, (rows, AGENT_CHANNEL, limit))]


def next_due(db: apsw.Connection) -> str | None:
    """Return the time at which the next message needs a sandbox (clock text form), or None if none waits.

    A message without a time is due since `BEGINNING_OF_TIME`, not since it came, because the clock may have been set
    back since then.
    """
    query = f"SELECT min(coalesce(process_after, ?)) FROM messages_in WHERE {_WAKES}"
    at: str | None = db.execute(query, (BEGINNING_OF_TIME,)).get
    return at


def waiting(db: apsw.Connection, now: str) -> list[InboundMessage]:
    """Return the messages that should wake a sandbox, oldest first.

    They are pending, due and triggering, and do not answer a tool (⚠28).
    """
    query = f"SELECT {_COLUMNS} FROM messages_in WHERE {_WAKES_NOW} ORDER BY seq"
    return [_message(row) for row in db.execute(query, (now,))]


def waiting_ids(db: apsw.Connection, now: str) -> set[str]:
    """Return the ids of the messages that `waiting` returns."""
    return {message_id for (message_id,) in db.execute(f"SELECT id FROM messages_in WHERE {_WAKES_NOW}", (now,))}


def count_waiting(db: apsw.Connection, sender_id: str | None, *, trigger: bool, limit: int) -> int:
    """Return the number of a person's pending chat messages, at most `limit`; None for messages without a sender."""
    query = (
        "SELECT count(*) FROM (SELECT 1 FROM messages_in WHERE status = 'pending' AND kind = 'chat' AND trigger = ?"
        " AND content ->> '$.sender_id' IS ? LIMIT ?)"
    )
    count: int = db.execute(query, (int(trigger), sender_id, limit)).get
    return count


def unfinished(db: apsw.Connection) -> list[InboundMessage]:
    """Return the messages that are neither completed nor failed, oldest first."""
    query = f"SELECT {_COLUMNS} FROM messages_in WHERE status IN ('pending', 'paused') ORDER BY seq"
    return [_message(row) for row in db.execute(query)]


def set_status(db: apsw.Connection, changes: Iterable[tuple[str, Status]]) -> None:
    """Set the status of messages by id, in one transaction. A completed or failed message never changes."""
    with db:
        db.executemany(
            "UPDATE messages_in SET status = ? WHERE id = ? AND status IN ('pending', 'paused')",
            [(status.value, message_id) for message_id, status in changes],
        )


def postpone(db: apsw.Connection, message_id: str, *, tries: int, process_after: str) -> None:
    """Record the number of failed tries and the time of the next one (clock text form)."""
    db.execute(
        "UPDATE messages_in SET tries = ?, process_after = ? WHERE id = ? AND status = 'pending'",
        (tries, process_after, message_id),
    )


def set_destinations(db: apsw.Connection, destinations: Sequence[Destination]) -> None:
    """Replace all destinations, in one transaction.

    A destination that the new list omits stays while a message from it is pending, because the prompt needs its name.
    """
    with db:
        destinations = [*destinations, *_still_needed(db, destinations)]
        db.execute("DELETE FROM destinations")
        db.executemany(
            "INSERT INTO destinations (name, display_name, kind, channel, room, agent_group_id)"
            " VALUES (:name, :display_name, :kind, :channel, :room, :agent_group_id)",
            [asdict(destination, recurse=False) for destination in destinations],
        )


def destinations(db: apsw.Connection) -> list[Destination]:
    """Return the destinations, sorted by name."""
    rows = db.execute("SELECT name, kind, display_name, channel, room, agent_group_id FROM destinations ORDER BY name")
    names = ("name", "kind", "display_name", "channel", "room", "agent_group_id")
    return [Destination(**dict(zip(names, row, strict=True))) for row in rows]


def set_routing(db: apsw.Connection, routing: Routing) -> None:
    """Store the address of the session's own conversation."""
    db.execute(
        "INSERT INTO session_routing (one, channel, room, thread) VALUES (1, :channel, :room, :thread)"
        " ON CONFLICT (one) DO UPDATE SET channel = :channel, room = :room, thread = :thread",
        asdict(routing),
    )


def routing(db: apsw.Connection) -> Routing:
    """Return the address of the session's own conversation; all None if none is stored."""
    row = db.execute("SELECT channel, room, thread FROM session_routing WHERE one = 1").fetchone()
    return Routing(channel=row[0], room=row[1], thread=row[2]) if row else Routing()


def _still_needed(db: apsw.Connection, new: Sequence[Destination]) -> list[Destination]:
    """Return the destinations that a new list omits and from which a message is pending."""
    new_names, new_addresses = {added.name for added in new}, {added.address for added in new}
    omitted = [old for old in destinations(db) if old.name not in new_names and old.address not in new_addresses]
    if not omitted:
        return []
    pending_addresses = set(db.execute("SELECT DISTINCT channel, room FROM messages_in WHERE status = 'pending'"))
    return [destination for destination in omitted if destination.address in pending_addresses]


def _values(seq: int, m: NewInbound) -> tuple[str | int | None, ...]:
    """Return the values of a message in the order of `_INSERT`."""
    return (
        *(seq, m.id, m.kind.value, m.at, m.process_after, int(m.trigger), int(m.on_wake), m.channel, m.room, m.thread),
        *(m.platform_message_id, m.correlation_id, m.source_session_id, m.series_id, m.recurrence, m.content),
    )


def _message(row: tuple) -> InboundMessage:  # type: ignore[type-arg]  # columns of many types, named below
    values = dict(zip(_COLUMNS.replace(" ", "").split(","), row, strict=True))
    values |= {
        "kind": Kind(values["kind"]),
        "status": Status(values["status"]),
        "trigger": bool(values["trigger"]),
        "on_wake": bool(values["on_wake"]),
    }
    return InboundMessage(**values)
