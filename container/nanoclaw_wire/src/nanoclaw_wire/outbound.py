"""outbound.db: rows from the runner to the host. Only the runner writes them (I1); both sides use these functions.

The host trusts nothing that it reads here. These functions check the types of values, and `delivery` checks the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

import apsw
from attrs import asdict, frozen

from nanoclaw_wire.exhaustion import attach_shortage


class OutKind(str, Enum):
    """The kind of an outbound message: text for a chat, a card, or a request to the host."""

    CHAT = "chat"
    CARD = "card"
    ACTION = "action"


class AckStatus(str, Enum):
    """The runner's progress on an inbound message."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class Activity(str, Enum):
    """State of a runner: BUSY while a turn is open."""

    IDLE = "idle"
    BUSY = "busy"


class Superseded(Exception):
    """Another runner has acquired the file, so this one must stop."""


@frozen(kw_only=True)
class NewOutbound:
    """A message to store in outbound.db.

    Args:
        id: Unique in the session, and the name of the folder of its files below `out/outbox/`.
        kind: See `OutKind`.
        at: Clock text form.
        content: A JSON object as text. CHAT: `{text, files?: [name], is_failure?: bool}` (`is_failure` is true if the
            text only explains why there is no answer), `{operation: "edit", seq, text}` or `{operation: "reaction",
            seq, emoji}`; `seq` is the number of the message to change. CARD: `{type: "ask_question", question_id,
            title, question, options}` or `{type: "card", card, fallback_text}`. ACTION: `{action, request_id,
            arguments}`.
        in_reply_to: The id of the inbound message that this one answers, or None.
        channel: With `room` and `thread`, the target; `agent` and a group id for another agent; None for actions.
        deliver_after: The earliest time to deliver it, clock text form; None for at once.
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
    """A row of messages_out. `seq` is odd (I2)."""

    seq: int


@frozen(kw_only=True)
class Acknowledgement:
    """The runner's status of one inbound message. `revision` grows with every change in the file."""

    message_id: str
    status: AckStatus
    changed_at: str
    revision: int


@frozen(kw_only=True)
class RunnerState:
    """The runner's current activity.

    Args:
        tool: The running tool, or None.
        tool_timeout_s: The timeout that the tool call sets, in seconds, or None.
        tool_started_at: Clock text form, or None.
        updated_at: Clock text form.
    """

    activity: Activity
    tool: str | None
    tool_timeout_s: float | None
    tool_started_at: str | None
    updated_at: str


MAX_TEXT_CHARACTERS = 1_000_000  # of one text; the host refuses more, and platforms split far shorter texts
MAX_ID_CHARACTERS = 200  # of a message; ours have at most 40
MAX_NUMBER = 2**53  # no runner counts so far; a larger forged number would leave no room for the next one
RUNNER = "runner"  # the key in session_state of the current writer's name
_INSERT = """
INSERT INTO messages_out (seq, id, kind, at, deliver_after, in_reply_to, channel, room, thread, content)
VALUES (:seq, :id, :kind, :at, :deliver_after, :in_reply_to, :channel, :room, :thread, :content)
"""
_ACKNOWLEDGEMENT = "message_id, status, changed_at, revision"
# Longer values are forged. This length needs no read of the value.
_SHORT = f"octet_length(message_id) <= {MAX_ID_CHARACTERS} AND octet_length(changed_at) <= 40"
_COLUMNS = ("seq", "id", "kind", "at", "deliver_after", "in_reply_to", "channel", "room", "thread", "content")


def next_odd(highest_anywhere: int | None) -> int:
    """Return the runner's next number, above the highest of both files; None if both are empty (I2).

    See `inbound.next_even`. Call this inside the transaction that uses the number (⚠36).
    """
    if highest_anywhere is None or highest_anywhere < 1:
        return 1
    return highest_anywhere + 1 + highest_anywhere % 2


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
        db: A writable connection to outbound.db.
        now: Clock text form.
        highest_inbound: The highest number in inbound.db. The new numbers are above those of both files.
        messages: The messages to store.
        acknowledge: Ids of inbound messages, and their new status.
        now_state: The runner's new state; None leaves the stored one unchanged.
        runner: The name that this runner passed to `acquire`; None skips the check.

    Raises:
        Superseded: Another runner has acquired the file. Nothing was stored.
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
    db: apsw.Connection, seq: int, *, limit: int, max_characters: int | None = None
) -> list[OutboundMessage]:
    """Return the messages with a higher number, in order.

    Args:
        db: A connection to outbound.db.
        seq: The number after which to begin.
        limit: Maximum number of messages.
        max_characters: Stop after the row at which the length of all texts exceeds this; None for no limit.

    Raises:
        ValueError: A row has an unknown kind, or a value of a wrong type, so no runner of ours wrote the file.
    """
    query = f"SELECT {', '.join(_COLUMNS)} FROM messages_out WHERE seq > ? ORDER BY seq LIMIT ?"
    messages: list[OutboundMessage] = []
    characters = 0
    for row in db.execute(query, (seq, limit)):
        values = dict(zip(_COLUMNS, row, strict=True))
        _check_types(values, integers=("seq",), strings=("id", "kind", "at", "content"))
        _check_number("seq", values["seq"], odd=True)
        messages.append(OutboundMessage(**values | {"kind": OutKind(values["kind"])}))
        characters += sum(len(value) for value in row if isinstance(value, str))
        if max_characters is not None and characters > max_characters:
            break
    return messages


def has_messages_after(db: apsw.Connection, seq: int) -> bool:
    """Return True if there are messages with a higher number."""
    return db.execute("SELECT 1 FROM messages_out WHERE seq > ? LIMIT 1", (seq,)).fetchone() is not None


def last_seq(db: apsw.Connection) -> int:
    """Return the number of the last message; 0 if there is none.

    Raises:
        ValueError: It is no number that a runner of ours could have written.
    """
    row = {"seq": db.execute("SELECT max(seq) FROM messages_out").get or 0}
    _check_types(row, integers=("seq",), strings=())
    _check_number("seq", row["seq"], odd=False)
    return row["seq"]


def acknowledgements_after(db: apsw.Connection, revision: int, *, limit: int) -> list[Acknowledgement]:
    """Return the acknowledgements that changed after a revision, the oldest change first."""
    query = f"SELECT {_ACKNOWLEDGEMENT} FROM acknowledgements WHERE revision > ? AND {_SHORT} ORDER BY revision LIMIT ?"
    return [_acknowledgement(row) for row in db.execute(query, (revision, limit))]


def claims(db: apsw.Connection, *, limit: int = 1_000) -> list[Acknowledgement]:
    """Return the acknowledgements of the messages that the runner is working on."""
    query = f"SELECT {_ACKNOWLEDGEMENT} FROM acknowledgements WHERE status = 'processing' AND {_SHORT} LIMIT ?"
    return [_acknowledgement(row) for row in db.execute(query, (limit,))]


def settled(db: apsw.Connection, message_ids: Iterable[str]) -> set[str]:
    """Return the ids of the messages that are completed or failed."""
    statement = "SELECT 1 FROM acknowledgements WHERE message_id = ? AND status <> 'processing'"
    return {message_id for message_id in message_ids if db.execute(statement, (message_id,)).fetchone()}


def settled_after(db: apsw.Connection, revision: int, *, limit: int = 1_000) -> set[str]:
    """Return the ids of the messages that were completed or failed after a revision; at most the latest `limit`.

    Ids that are longer than any of the host's are skipped, because a sandbox can write millions of characters there.
    """
    query = "SELECT message_id FROM acknowledgements WHERE revision > ? AND status <> 'processing'"
    query = f"{query} AND length(message_id) <= {MAX_ID_CHARACTERS} ORDER BY revision DESC LIMIT ?"
    return {message_id for (message_id,) in db.execute(query, (revision, limit))}


def acquire(db: apsw.Connection, *, runner: str, now: str) -> int:
    """Make a fresh runner the writer of the file. Return the number of claims of earlier runners, which it releases.

    A runner can outlive the host's knowledge of it: an engine that crashed may have started it nevertheless. From now
    on such a runner can store nothing, so its late answers are not sent twice (I1, I4).

    Args:
        db: A writable connection to outbound.db.
        runner: A name that no other runner has.
        now: Clock text form.
    """
    with immediate(db):
        set_state(db, RUNNER, runner, now)
        db.execute("DELETE FROM acknowledgements WHERE status = 'processing'")
        return db.changes()


def state(db: apsw.Connection, key: str) -> str | None:
    """Return a value that a runner stored for later runners, or None."""
    value: str | None = db.execute("SELECT value FROM session_state WHERE key = ?", (key,)).get
    return value


def set_state(db: apsw.Connection, key: str, value: str | None, now: str) -> None:
    """Store a value for later runners. None deletes it."""
    if value is None:
        db.execute("DELETE FROM session_state WHERE key = ?", (key,))
        return
    db.execute(
        "INSERT INTO session_state (key, value, updated_at) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        (key, value, now),
    )


def runner_state(db: apsw.Connection) -> RunnerState | None:
    """Return the state that the runner last stored, or None if it stored none.

    Raises:
        ValueError: A value has a wrong type, so no runner of ours wrote the file.
    """
    row = db.execute(
        "SELECT activity, tool, tool_timeout_s, tool_started_at, updated_at FROM runner_state WHERE one = 1"
    ).fetchone()
    if row is None:
        return None
    checked = dict(zip(("activity", "tool", "at"), (row[0], row[1], row[4]), strict=True))
    _check_types(checked, integers=(), strings=("at",))
    if not isinstance(row[2], float | int | None):
        raise ValueError(f"`tool_timeout_s` must be a number or NULL, got {type(row[2]).__name__}")
    return RunnerState(
        activity=Activity(row[0]), tool=row[1], tool_timeout_s=row[2], tool_started_at=row[3], updated_at=row[4]
    )


def set_runner_state(db: apsw.Connection, now_state: RunnerState) -> None:
    """Store the runner's state."""
    db.execute(
        "INSERT OR REPLACE INTO runner_state (one, activity, tool, tool_timeout_s, tool_started_at, updated_at)"
        " VALUES (1, :activity, :tool, :tool_timeout_s, :tool_started_at, :updated_at)",
        asdict(now_state) | {"activity": now_state.activity.value},
    )


@contextlib.contextmanager
def immediate(db: apsw.Connection, runner: str | None = None) -> Iterator[None]:
    """Run a transaction that holds the write lock from its start, so that its reads stay true.

    Args:
        db: A writable connection to outbound.db.
        runner: The name that this runner passed to `acquire`; None skips the check.

    Raises:
        Superseded: Another runner has acquired the file.
        apsw.CantOpenError: The journal cannot be opened; it has a cause if the machine is exhausted.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            if runner is not None and state(db, RUNNER) != runner:
                raise Superseded("another runner has acquired this session")
            yield
        except BaseException:
            if db.in_transaction:  # SQLite itself rolls back on a full disk
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    except apsw.CantOpenError as error:
        attach_shortage(error, Path(db.filename).parent)
        raise


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


def _acknowledgement(row: tuple) -> Acknowledgement:  # type: ignore[type-arg]  # a row, named below
    values = dict(zip(_ACKNOWLEDGEMENT.split(", "), row, strict=True))
    _check_types(values, integers=("revision",), strings=("message_id", "status", "changed_at"))
    _check_number("revision", values["revision"], odd=False)
    return Acknowledgement(**values | {"status": AckStatus(values["status"])})


def _check_number(name: str, number: int, *, odd: bool) -> None:
    """Check that a runner could have counted to a number, because our cursors follow it."""
    if number > MAX_NUMBER or (odd and number % 2 == 0):
        raise ValueError(f"`{name}` must be {'odd and ' if odd else ''}at most {MAX_NUMBER}, got {number}")


def _check_types(values: Mapping[str, object], *, integers: Sequence[str], strings: Sequence[str]) -> None:
    """Check that values are integers, strings, or (all others) strings or None.

    The schema requires the same, but the writer of the file also controls its schema.
    """
    for name, value in values.items():
        types: tuple[type, ...] = (int,) if name in integers else (str,) if name in strings else (str, type(None))
        if not isinstance(value, types):
            expected = " or ".join("NULL" if kind is type(None) else kind.__name__ for kind in types)
            raise ValueError(f"`{name}` must be {expected}, got {type(value).__name__}")
