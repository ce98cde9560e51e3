"""outbound.db: what the runner tells the host. The runner writes (I1); both sides read through these functions.

The host trusts nothing it reads here: rows come back as they are stored, and `delivery` judges them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

import apsw
from attrs import asdict, frozen

from nanoclaw_wire.exhaustion import explain_cannot_open
from nanoclaw_wire.sequence import next_odd


class OutKind(str, Enum):
    """What an outbound message is: words for a chat, a card, or a request to the host."""

    CHAT = "chat"
    CARD = "card"
    ACTION = "action"


class AckStatus(str, Enum):
    """How far the runner is with an inbound message."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class Activity(str, Enum):
    """Whether the runner has a turn open."""

    IDLE = "idle"
    BUSY = "busy"


class Superseded(Exception):
    """Another runner has taken the file over; this one has nothing more to do."""


@frozen(kw_only=True)
class NewOutbound:
    """A message on its way into outbound.db.

    Args:
        id: Unique in the session; also the folder of its files below `out/outbox/`.
        kind: See `OutKind`.
        at: Clock text form.
        content: A JSON object as text. CHAT: `{text, files?: [name], is_failure?: bool}` (true where it is no answer
            but says why there is none), `{operation: "edit", seq, text}` or `{operation: "reaction", seq, emoji}`;
            seq is the number of the message meant. CARD: `{type: "ask_question", question_id, title, question,
            options}` or `{type: "card", card, fallback_text}`. ACTION: `{action, request_id, arguments}`.
        in_reply_to: Id of the inbound message this answers, or None.
        channel: With `room` and `thread` the target; `agent` and a group id for another agent; None for actions.
        deliver_after: Not before this time, clock text form; None is at once.
    """

    id: str
    kind: OutKind
    at: str
    content: str
    in_reply_to: str | None = None
    channel: str | None = None
    room: str | None = None
    thread: str | None = None
    deliver_after: str | None = None


@frozen(kw_only=True)
class OutboundMessage(NewOutbound):
    """A row of messages_out; `seq` is odd (I2)."""

    seq: int


@frozen(kw_only=True)
class Acknowledgement:
    """What the runner says about one inbound message; `revision` grows with every change in the file."""

    message_id: str
    status: AckStatus
    changed_at: str
    revision: int


@frozen(kw_only=True)
class RunnerState:
    """What the runner is doing.

    Args:
        tool: The tool that runs now, or None.
        tool_timeout_s: What the tool call asked for, in seconds, or None.
        tool_started_at: Clock text form, or None.
        updated_at: Clock text form.
    """

    activity: Activity
    tool: str | None
    tool_timeout_s: float | None
    tool_started_at: str | None
    updated_at: str


TEXT_AT_MOST = 1_000_000  # characters of one text; the host refuses more, and a platform splits long before
HIGHEST_NUMBER = 2**53  # nobody counts so far; beyond it a forged one would leave no room for the next
RUNNER = "runner"  # the key of session_state under which the name of the one that writes is kept
_INSERT = """
INSERT INTO messages_out (seq, id, kind, at, deliver_after, in_reply_to, channel, room, thread, content)
VALUES (:seq, :id, :kind, :at, :deliver_after, :in_reply_to, :channel, :room, :thread, :content)
"""
_ACKNOWLEDGEMENT = "message_id, status, changed_at, revision"
_COLUMNS = ("seq", "id", "kind", "at", "deliver_after", "in_reply_to", "channel", "room", "thread", "content")


def write(
    db: apsw.Connection,
    *,
    now: str,
    highest_inbound: int | None = None,
    messages: Iterable[NewOutbound] = (),
    acknowledge: Iterable[tuple[str, AckStatus]] = (),
    now_state: RunnerState | None = None,
    runner: str | None = None,
) -> list[int]:
    """Store messages, acknowledgements and the runner's state in one transaction; return the numbers in order.

    Numbers are chosen inside the transaction, under the write lock (⚠36).

    Args:
        now: Clock text form.
        highest_inbound: The highest number in inbound.db, so that ours is above both files.
        now_state: What the runner is doing from now on; None leaves it as it was.
        runner: Who writes, as `take_over` was told; None asks nothing.

    Raises:
        Superseded: Another runner has taken the file over; nothing was stored.
        apsw.Error: Nothing was stored.
    """
    numbers: list[int] = []
    with immediate(db, runner):
        highest = max(db.execute("SELECT max(seq) FROM messages_out").get or 0, highest_inbound or 0)
        for message in messages:
            highest = next_odd(highest)
            db.execute(_INSERT, asdict(message) | {"seq": highest, "kind": message.kind.value})
            numbers.append(highest)
        _acknowledge(db, acknowledge, now)
        if now_state is not None:
            set_runner_state(db, now_state)
    return numbers


def messages_after(
    db: apsw.Connection, seq: int, *, limit: int, bytes_at_most: int | None = None
) -> list[OutboundMessage]:
    """Return the messages with a higher number, in order.

    Args:
        bytes_at_most: Stop behind the row with which their texts grow beyond this; None never.

    Raises:
        ValueError: A row has a kind that does not exist, or a value of a kind that its column does not take; the file
            was not written by a runner of ours.
    """
    query = f"SELECT {', '.join(_COLUMNS)} FROM messages_out WHERE seq > ? ORDER BY seq LIMIT ?"
    found: list[OutboundMessage] = []
    size = 0
    for row in db.execute(query, (seq, limit)):
        values = dict(zip(_COLUMNS, row, strict=True))
        _check_kinds(values, whole=("seq",), texts=("id", "kind", "at", "content"))
        _check_number("seq", values["seq"], odd=True)
        found.append(OutboundMessage(**values | {"kind": OutKind(values["kind"])}))
        size += sum(len(value) for value in row if isinstance(value, str))
        if bytes_at_most is not None and size > bytes_at_most:
            break
    return found


def has_messages_after(db: apsw.Connection, seq: int) -> bool:
    """Say whether there are messages with a higher number."""
    return db.execute("SELECT 1 FROM messages_out WHERE seq > ? LIMIT 1", (seq,)).fetchone() is not None


def acknowledgements_after(db: apsw.Connection, revision: int, *, limit: int) -> list[Acknowledgement]:
    """Return what changed since a revision, oldest change first."""
    query = f"SELECT {_ACKNOWLEDGEMENT} FROM acknowledgements WHERE revision > ? ORDER BY revision LIMIT ?"
    return [_acknowledgement(row) for row in db.execute(query, (revision, limit))]


def claims(db: apsw.Connection, *, limit: int = 1_000) -> list[Acknowledgement]:
    """Return what the runner is working on now."""
    query = f"SELECT {_ACKNOWLEDGEMENT} FROM acknowledgements WHERE status = 'processing' LIMIT ?"
    return [_acknowledgement(row) for row in db.execute(query, (limit,))]


def settled(db: apsw.Connection, message_ids: Iterable[str]) -> set[str]:
    """Return those of the messages that are completed or failed."""
    statement = "SELECT 1 FROM acknowledgements WHERE message_id = ? AND status <> 'processing'"
    return {message_id for message_id in message_ids if db.execute(statement, (message_id,)).fetchone()}


def take_over(db: apsw.Connection, *, runner: str, now: str) -> int:
    """Make the file a fresh runner's; return how many messages one before it had claimed, which are free again.

    A runner can outlive the host's knowledge of it: an engine that crashed may have started it all the same. From here
    on such a one can store nothing, so that what it says late is not said twice (I1, I4).

    Args:
        runner: No other runner's name.
    """
    with immediate(db):
        set_state(db, RUNNER, runner, now)
        db.execute("DELETE FROM acknowledgements WHERE status = 'processing'")
        return db.changes()


def state(db: apsw.Connection, key: str) -> str | None:
    """Return a value that a runner kept for its successors, or None."""
    value: str | None = db.execute("SELECT value FROM session_state WHERE key = ?", (key,)).get
    return value


def set_state(db: apsw.Connection, key: str, value: str | None, now: str) -> None:
    """Keep a value for later runners; None forgets it."""
    if value is None:
        db.execute("DELETE FROM session_state WHERE key = ?", (key,))
        return
    db.execute(
        "INSERT INTO session_state (key, value, updated_at) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        (key, value, now),
    )


def runner_state(db: apsw.Connection) -> RunnerState | None:
    """Return what the runner last said of itself, or None where no runner ever ran."""
    row = db.execute(
        "SELECT activity, tool, tool_timeout_s, tool_started_at, updated_at FROM runner_state WHERE one = 1"
    ).fetchone()
    if row is None:
        return None
    _check_kinds(dict(zip(("activity", "tool", "at"), (row[0], row[1], row[4]), strict=True)), whole=(), texts=("at",))
    if not isinstance(row[2], float | int | None):
        raise ValueError(f"tool_timeout_s is {type(row[2]).__name__}")
    return RunnerState(
        activity=Activity(row[0]), tool=row[1], tool_timeout_s=row[2], tool_started_at=row[3], updated_at=row[4]
    )


def set_runner_state(db: apsw.Connection, now_state: RunnerState) -> None:
    """Say what the runner is doing."""
    db.execute(
        "INSERT OR REPLACE INTO runner_state (one, activity, tool, tool_timeout_s, tool_started_at, updated_at)"
        " VALUES (1, :activity, :tool, :tool_timeout_s, :tool_started_at, :updated_at)",
        asdict(now_state) | {"activity": now_state.activity.value},
    )


@contextlib.contextmanager
def immediate(db: apsw.Connection, runner: str | None = None) -> Iterator[None]:
    """One write transaction that holds the write lock from its start, so that what it reads stays true.

    Args:
        runner: Who writes, as `take_over` was told; None asks nothing.

    Raises:
        Superseded: Another runner has taken the file over.
        apsw.CantOpenError: The journal cannot be opened; it has a cause if the machine is exhausted.
    """
    with explain_cannot_open(Path(db.filename).parent):
        db.execute("BEGIN IMMEDIATE")
        try:
            if runner is not None and state(db, RUNNER) != runner:
                raise Superseded("another runner has taken this session over")
            yield
        except BaseException:
            if db.in_transaction:  # a full disk ends it by itself
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def _acknowledge(db: apsw.Connection, changes: Iterable[tuple[str, AckStatus]], now: str) -> None:
    revision = db.execute("SELECT max(revision) FROM acknowledgements").get or 0
    for message_id, status in changes:
        revision += 1
        db.execute(
            "INSERT INTO acknowledgements (message_id, status, changed_at, revision) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (message_id) DO UPDATE SET status = excluded.status, changed_at = excluded.changed_at,"
            " revision = excluded.revision",
            (message_id, status.value, now, revision),
        )


def _acknowledgement(row: tuple) -> Acknowledgement:  # type: ignore[type-arg]  # a row, named just below
    values = dict(zip(_ACKNOWLEDGEMENT.split(", "), row, strict=True))
    _check_kinds(values, whole=("revision",), texts=("message_id", "status", "changed_at"))
    _check_number("revision", values["revision"], odd=False)
    return Acknowledgement(**values | {"status": AckStatus(values["status"])})


def _check_number(name: str, number: int, *, odd: bool) -> None:
    """Insist that a number is one that a runner could have counted to; our marks of what is known follow it."""
    if number > HIGHEST_NUMBER or (odd and number % 2 == 0):
        raise ValueError(f"{name} is {number}")


def _check_kinds(values: Mapping[str, object], *, whole: Sequence[str], texts: Sequence[str]) -> None:
    """Insist that values are whole numbers, texts, or (all others) texts or nothing.

    The schema says so already, but whoever writes the file also writes its schema.
    """
    for name, value in values.items():
        kinds: tuple[type, ...] = (int,) if name in whole else (str,) if name in texts else (str, type(None))
        if not isinstance(value, kinds):
            raise ValueError(f"{name} is {type(value).__name__}")
