"""Outbound messages: queued → sending → sent or failed, durable at every step.

`sending` is written before the platform is called. After a crash such a row is retried under the same key (I4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

import apsw
from attrs import field, frozen
from nanoclaw_wire import clock

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.store.connection import insert, row, rows


class DeliveryStatus(str, Enum):
    """State of an outbound message; SENT and FAILED are final."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


@frozen(kw_only=True)
class Delivery:
    """One message to one address.

    Args:
        id: Also the idempotency key; the same for every attempt.
        position: The order within a room; grows with every message of the host.
        session_id: None for a message of the host itself.
        message_id: The folder of its files in the session's outbox.
        message_seq: Its number in the session, with which agents refer to it.
        kind: `chat` or `card`.
        content: The runner's JSON object, validated at import.
        next_try_at: Clock text form; None means at once.
        deliver_after: The message's own date, set by its agent; None means at once.
        retried_at: The time of an operator's retry, or None.
        owes_notice: True if it was sent late and its thread still needs a notice.
    """

    id: DeliveryId
    position: int
    channel: str
    room: str
    thread: str | None
    kind: str
    content: str
    session_id: SessionId | None = None
    message_id: str | None = None
    message_seq: int | None = None
    in_reply_to: str | None = None
    status: DeliveryStatus = field(default=DeliveryStatus.QUEUED, converter=DeliveryStatus)
    attempts: int = 0
    next_try_at: str | None = None
    platform_message_id: str | None = None
    last_error: str | None = None
    correlation_id: str | None = None
    created_at: str = field(factory=clock.now_text)
    updated_at: str = field(factory=clock.now_text)
    deliver_after: str | None = None
    retried_at: str | None = None
    owes_notice: bool = field(default=False, converter=bool)

    @property
    def address(self) -> Address:
        return Address(self.channel, self.room, self.thread)


@frozen(kw_only=True)
class WaitingMessages:
    """The number and the oldest creation time of the messages of a channel that are not delivered yet."""

    channel: str
    count: int
    oldest_at: str


def next_position(db: apsw.Connection) -> int:
    """Return the position of the next message; call it in the transaction that inserts the message."""
    return (db.execute("SELECT max(position) FROM deliveries").get or 0) + 1


def add(db: apsw.Connection, deliveries: Iterable[Delivery]) -> None:
    """Insert messages; an existing one with the same id stays unchanged."""
    for delivery in deliveries:
        if db.execute("SELECT 1 FROM deliveries WHERE id = ?", (delivery.id,)).fetchone() is None:
            insert(db, "deliveries", delivery)


def open_deliveries(db: apsw.Connection) -> list[Delivery]:
    """Return all unfinished deliveries, in order."""
    return rows(db, Delivery, "deliveries WHERE status IN ('queued', 'sending') ORDER BY position")


def get(db: apsw.Connection, delivery_id: DeliveryId) -> Delivery | None:
    """Return a delivery, or None."""
    return row(db, Delivery, "deliveries WHERE id = ?", (delivery_id,))


def of_message(db: apsw.Connection, session_id: SessionId, seq: int) -> Delivery | None:
    """Return the delivery of a session's message by its sequence number, or None."""
    return row(db, Delivery, "deliveries WHERE session_id = ? AND message_seq = ?", (session_id, seq))


def answered(db: apsw.Connection, session_id: SessionId, correlation_ids: Sequence[str]) -> set[str]:
    """Return those of the correlation ids under which a session has written a message."""
    query = "SELECT 1 FROM deliveries WHERE session_id = ? AND correlation_id = ? LIMIT 1"
    return {text for text in correlation_ids if db.execute(query, (session_id, text)).fetchone() is not None}


def recent_addresses(db: apsw.Connection, session_id: SessionId, limit: int) -> list[Address]:
    """Return the addresses to which a session wrote, the most recent first."""
    query = (
        "SELECT channel, room, thread FROM deliveries WHERE session_id = ?"
        " GROUP BY channel, room, thread ORDER BY max(message_seq) DESC LIMIT ?"
    )
    return [Address(*values) for values in db.execute(query, (session_id, limit))]


def mark_sending(db: apsw.Connection, delivery_id: DeliveryId) -> bool:
    """Record an attempt before it is made; return False if the delivery is already finished.

    If the row is already `sending`, a host ended during that attempt. The repetition does not count as another one.
    """
    return _update_open(db, delivery_id, "status = 'sending', attempts = attempts + (status <> 'sending')")


def mark_sent(
    db: apsw.Connection, delivery_id: DeliveryId, platform_message_id: str | None, *, owes_notice: bool = False
) -> None:
    """Record that a platform accepted a message; `owes_notice` marks it as late."""
    db.execute(
        "UPDATE deliveries SET status = 'sent', platform_message_id = ?, last_error = NULL, owes_notice = ?,"
        " updated_at = ? WHERE id = ?",
        (platform_message_id, int(owes_notice), clock.now_text(), delivery_id),
    )


def rooms_owing_notices(db: apsw.Connection) -> list[tuple[str, str]]:
    """Return the channels and rooms with late messages that still need a notice."""
    rooms = db.execute("SELECT DISTINCT channel, room FROM deliveries WHERE owes_notice = 1")
    return [(channel, room) for channel, room in rooms]


def first_owing_notice(db: apsw.Connection, channel: str, room: str) -> list[Delivery]:
    """Return the first late message of each thread of a room that still needs a notice."""
    owing = "SELECT min(position) FROM deliveries WHERE owes_notice = 1 AND channel = ? AND room = ? GROUP BY thread"
    return rows(db, Delivery, f"deliveries WHERE position IN ({owing}) ORDER BY position", (channel, room))


def mark_notices_queued(db: apsw.Connection, channel: str, room: str) -> None:
    """Record that the notices of a room are queued."""
    query = "UPDATE deliveries SET owes_notice = 0 WHERE owes_notice = 1 AND channel = ? AND room = ?"
    db.execute(query, (channel, room))


def mark_waiting(db: apsw.Connection, delivery_id: DeliveryId, next_try_at: str, error: str) -> None:
    """Record a failed attempt and the time of the next one."""
    changes = "status = 'queued', next_try_at = ?, last_error = ?"
    _update_open(db, delivery_id, changes, (next_try_at, error), condition="status = 'sending'")


def mark_absent(db: apsw.Connection, delivery_id: DeliveryId, reason: str) -> bool:
    """Record that this host cannot try a delivery; return False if it is finished."""
    is_new = "(status, last_error) IS NOT ('queued', ?1)"
    _update_open(db, delivery_id, "status = 'queued', last_error = ?1", (reason,), condition=is_new)
    open_one = "SELECT 1 FROM deliveries WHERE id = ? AND status IN ('queued', 'sending')"
    return db.execute(open_one, (delivery_id,)).fetchone() is not None


def waiting_by_channel(db: apsw.Connection) -> Sequence[WaitingMessages]:
    """Return the unfinished messages of each channel, in the order of the channels' names."""
    grouped = "SELECT channel, count(*) AS count, min(created_at) AS oldest_at FROM deliveries"
    return rows(db, WaitingMessages, f"({grouped} WHERE status IN ('queued', 'sending') GROUP BY channel) ORDER BY 1")


def mark_failed(db: apsw.Connection, delivery_id: DeliveryId, error: str) -> bool:
    """Record that a delivery failed for good; return False if it was already finished."""
    return _update_open(db, delivery_id, "status = 'failed', last_error = ?", (error,))


def prune(db: apsw.Connection, before: str) -> int:
    """Remove deliveries that finished before a time (clock text form); return their number."""
    db.execute("DELETE FROM deliveries WHERE status IN ('sent', 'failed') AND updated_at < ?", (before,))
    return db.changes()


def _update_open(
    db: apsw.Connection, delivery_id: DeliveryId, changes: str, values: Sequence[str] = (), *, condition: str = "TRUE"
) -> bool:
    """Change an unfinished delivery that meets a condition; return False if there is none."""
    query = f"UPDATE deliveries SET {changes}, updated_at = ? WHERE id = ? AND status IN ('queued', 'sending')"
    db.execute(f"{query} AND {condition}", (*values, clock.now_text(), delivery_id))
    return bool(db.changes())
