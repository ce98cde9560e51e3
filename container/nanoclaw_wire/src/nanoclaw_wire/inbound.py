"""inbound.db: what the host tells the runner. The host writes (I1); both sides read through these functions.

Every function is one statement, or one transaction where it says so, on a connection from `session_files`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import Enum

import apsw
from attrs import asdict, frozen

from nanoclaw_wire.sequence import next_even

AGENT_CHANNEL = "agent"
BEGINNING_OF_TIME = "0001-01-01T00:00:00.000Z"
"""The channel of what another agent wrote; its rooms are ids of agent groups."""


class Kind(str, Enum):
    """What an inbound message is. SYSTEM rows answer a waiting tool and never start a turn by themselves."""

    CHAT = "chat"
    TASK = "task"
    WEBHOOK = "webhook"
    SYSTEM = "system"


class Status(str, Enum):
    """Where an inbound message stands. It leaves PENDING only when its turn ended or it failed for good (I3)."""

    PENDING = "pending"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"


@frozen(kw_only=True)
class NewInbound:
    """A message on its way into inbound.db.

    Args:
        id: Unique in the session; the same id a second time is the same message, not a new one.
        kind: See `Kind`.
        at: When it was said, clock text form.
        content: A JSON object as text. For CHAT: `text`, `sender`, `sender_id`, and where they exist `attachments`
            (`[{name, type, mime_type, size_bytes, path | url}]`, path below `in/`) and `reply_to`
            (`{id, sender, text}`).
            For SYSTEM: `type`, `request_id` and the answer.
        process_after: Not before this time, clock text form; None is at once.
        trigger: False is context only: it wakes nobody and rides along with the next message that does.
        on_wake: True is seen only by the first poll of a fresh runner (I5).
        channel: With `room` and `thread` the address it came from; see `AGENT_CHANNEL` for another agent's.
        platform_message_id: The platform's own id, for edits and reactions; None where there is none.
        correlation_id: Follows the message through every log line, from arrival to delivery.
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
        seq: The even number the agent sees as the message's id.
        tries: How often a runner died or hung over it.
    """

    seq: int
    status: Status = Status.PENDING
    tries: int = 0


@frozen(kw_only=True)
class Destination:
    """A named address an agent may write to.

    Args:
        name: What the agent writes in `to="…"`.
        kind: `channel` (then channel and room are set) or `agent` (then agent_group_id is).
    """

    name: str
    kind: str
    display_name: str | None = None
    channel: str | None = None
    room: str | None = None
    agent_group_id: str | None = None


@frozen(kw_only=True)
class Routing:
    """Where a session's own conversation is; all None for a session without a chat."""

    channel: str | None = None
    room: str | None = None
    thread: str | None = None


_COLUMNS = (
    "seq, id, kind, at, status, process_after, tries, trigger, on_wake, channel, room, thread,"
    " platform_message_id, correlation_id, source_session_id, series_id, recurrence, content"
)
_WAKES = "status = 'pending' AND trigger = 1 AND kind <> 'system'"
_INSERT = """
INSERT INTO messages_in (seq, id, kind, at, process_after, trigger, on_wake, channel, room, thread,
                         platform_message_id, correlation_id, source_session_id, series_id, recurrence, content)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""


def append(db: apsw.Connection, messages: Iterable[NewInbound]) -> list[int]:
    """Store messages in one transaction, and return their numbers in the same order.

    A message whose id is already there keeps its row and its number: writing again is harmless (⚠21).

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
    """Return what a runner may take, oldest first: pending, due, and not already taken.

    Args:
        now: Clock text form.
        fresh: True for the first poll of a fresh runner, which alone sees on_wake rows (I5).
        without: Numbers already acknowledged; they are left out *before* the limit counts (⚠7).
        limit: How many at most.
    """
    query = (
        f"SELECT {_COLUMNS} FROM messages_in"
        " WHERE status = 'pending' AND (process_after IS NULL OR process_after <= ?) AND on_wake <= ? ORDER BY seq"
    )
    found: list[InboundMessage] = []
    for row in db.execute(query, (now, int(fresh))):
        if row[0] not in without:
            found.append(_message(row))
            if len(found) == limit:
                break
    return found


def by_seq(db: apsw.Connection, seq: int) -> InboundMessage | None:
    """Return the message with a number, or None."""
    row = db.execute(f"SELECT {_COLUMNS} FROM messages_in WHERE seq = ?", (seq,)).fetchone()
    return _message(row) if row else None


def by_id(db: apsw.Connection, message_id: str) -> InboundMessage | None:
    """Return the message with an id, or None."""
    row = db.execute(f"SELECT {_COLUMNS} FROM messages_in WHERE id = ?", (message_id,)).fetchone()
    return _message(row) if row else None


def latest(db: apsw.Connection, limit: int) -> list[InboundMessage]:
    """Return the latest rows, whatever became of them, newest first."""
    query = f"SELECT {_COLUMNS} FROM messages_in ORDER BY seq DESC LIMIT ?"
    return [_message(row) for row in db.execute(query, (limit,))]


def highest(db: apsw.Connection) -> int | None:
    """Return the highest number, or None where the file is empty."""
    number: int | None = db.execute("SELECT max(seq) FROM messages_in").get
    return number


def latest_from(db: apsw.Connection, channel: str, room: str) -> InboundMessage | None:
    """Return the most recent message from a room, or None where it never wrote."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM messages_in WHERE channel = ? AND room = ? ORDER BY seq DESC LIMIT 1", (channel, room)
    ).fetchone()
    return _message(row) if row else None


def recent_addresses(db: apsw.Connection, *, rows: int, limit: int) -> list[tuple[str, str, str | None]]:
    """Return the channel, room and thread of chats that wrote lately, the most recent first.

    Args:
        rows: How many of the latest rows count as lately.
        limit: How many addresses at most.
    """
    query = (
        "SELECT channel, room, thread FROM (SELECT * FROM messages_in ORDER BY seq DESC LIMIT ?)"
        " WHERE channel <> ? AND room IS NOT NULL GROUP BY channel, room, thread ORDER BY max(seq) DESC LIMIT ?"
    )
    return [(channel, room, thread) for channel, room, thread in db.execute(query, (rows, AGENT_CHANNEL, limit))]


def next_due(db: apsw.Connection) -> str | None:
    """Return when the next message wants a sandbox (clock text form), None where none waits.

    What has no date wants one since ever, not since it came: the clock may have been set back in between.
    """
    query = f"SELECT min(coalesce(process_after, ?)) FROM messages_in WHERE {_WAKES}"
    at: str | None = db.execute(query, (BEGINNING_OF_TIME,)).get
    return at


def waiting(db: apsw.Connection, now: str) -> list[InboundMessage]:
    """Return what should wake a sandbox, oldest first: pending, due, triggering, and no answer to a tool (⚠28)."""
    query = f"SELECT {_COLUMNS} FROM messages_in WHERE {_WAKES} AND (process_after IS NULL OR process_after <= ?)"
    return [_message(row) for row in db.execute(f"{query} ORDER BY seq", (now,))]


def unfinished(db: apsw.Connection) -> list[InboundMessage]:
    """Return everything that is neither completed nor failed, oldest first."""
    query = f"SELECT {_COLUMNS} FROM messages_in WHERE status IN ('pending', 'paused') ORDER BY seq"
    return [_message(row) for row in db.execute(query)]


def set_status(db: apsw.Connection, changes: Iterable[tuple[str, Status]]) -> None:
    """Set the status of messages by id, in one transaction; a completed or failed one never changes again."""
    with db:
        db.executemany(
            "UPDATE messages_in SET status = ? WHERE id = ? AND status IN ('pending', 'paused')",
            [(status.value, message_id) for message_id, status in changes],
        )


def postpone(db: apsw.Connection, message_id: str, *, tries: int, process_after: str) -> None:
    """Note one more failed try, and when to try again (clock text form)."""
    db.execute(
        "UPDATE messages_in SET tries = ?, process_after = ? WHERE id = ? AND status = 'pending'",
        (tries, process_after, message_id),
    )


def set_destinations(db: apsw.Connection, destinations: Sequence[Destination]) -> None:
    """Replace all destinations, in one transaction.

    A destination that is not in the new list stays while a message from there waits: its prompt needs the name.
    """
    with db:
        destinations = [*destinations, *_still_needed(db, destinations)]
        db.execute("DELETE FROM destinations")
        db.executemany(
            "INSERT INTO destinations (name, display_name, kind, channel, room, agent_group_id)"
            " VALUES (:name, :display_name, :kind, :channel, :room, :agent_group_id)",
            [asdict(destination) for destination in destinations],
        )


def destinations(db: apsw.Connection) -> list[Destination]:
    """Return the destinations in name order."""
    rows = db.execute("SELECT name, kind, display_name, channel, room, agent_group_id FROM destinations ORDER BY name")
    names = ("name", "kind", "display_name", "channel", "room", "agent_group_id")
    return [Destination(**dict(zip(names, row, strict=True))) for row in rows]


def set_routing(db: apsw.Connection, routing: Routing) -> None:
    """Say where the session's own conversation is."""
    db.execute(
        "INSERT INTO session_routing (one, channel, room, thread) VALUES (1, :channel, :room, :thread)"
        " ON CONFLICT (one) DO UPDATE SET channel = :channel, room = :room, thread = :thread",
        asdict(routing),
    )


def routing(db: apsw.Connection) -> Routing:
    """Return where the session's own conversation is; all None where nothing was written."""
    row = db.execute("SELECT channel, room, thread FROM session_routing WHERE one = 1").fetchone()
    return Routing(channel=row[0], room=row[1], thread=row[2]) if row else Routing()


def _still_needed(db: apsw.Connection, new: Sequence[Destination]) -> list[Destination]:
    """Return the destinations that are not in a new list and from which a message is pending."""
    names, places = {one.name for one in new}, {_place(one) for one in new}
    left_out = [one for one in destinations(db) if one.name not in names and _place(one) not in places]
    if not left_out:
        return []
    pending_from = set(db.execute("SELECT DISTINCT channel, room FROM messages_in WHERE status = 'pending'"))
    return [one for one in left_out if _place(one) in pending_from]


def _place(destination: Destination) -> tuple[str | None, str | None]:
    """Return where messages from a destination come from, as columns of messages_in."""
    if destination.kind == "agent":
        return AGENT_CHANNEL, destination.agent_group_id
    return destination.channel, destination.room


def _values(seq: int, m: NewInbound) -> tuple[str | int | None, ...]:
    """Return a message's values in the order of `_INSERT`."""
    return (
        *(seq, m.id, m.kind.value, m.at, m.process_after, int(m.trigger), int(m.on_wake), m.channel, m.room, m.thread),
        *(m.platform_message_id, m.correlation_id, m.source_session_id, m.series_id, m.recurrence, m.content),
    )


def _message(row: tuple) -> InboundMessage:  # type: ignore[type-arg]  # a row of many types, named just below
    values = dict(zip(_COLUMNS.replace(" ", "").split(","), row, strict=True))
    values |= {
        "kind": Kind(values["kind"]),
        "status": Status(values["status"]),
        "trigger": bool(values["trigger"]),
        "on_wake": bool(values["on_wake"]),
    }
    return InboundMessage(**values)
