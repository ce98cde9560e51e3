"""Reads and changes rows of deliveries for the operator."""

from __future__ import annotations

from typing import Any

import apsw
from nanoclaw_wire import clock


def status_of(db: apsw.Connection, delivery_id: str) -> str | None:
    """Return the status of a delivery, or None if it does not exist."""
    status: str | None = db.execute("SELECT status FROM deliveries WHERE id = ?", (delivery_id,)).get
    return status


def described(db: apsw.Connection, delivery_id: str) -> dict[str, Any]:
    """Return a delivery as a human recognises it: its status, its room and its content."""
    names = ("status", "channel", "room", "thread", "content")
    row: Any = db.execute(f"SELECT {', '.join(names)} FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
    return dict(zip(names, row, strict=True))


_QUEUE_AGAIN = (
    "UPDATE deliveries SET status = 'queued', attempts = 0, next_try_at = NULL, retried_at = ?, updated_at = ?"
)


def queue_again(db: apsw.Connection, delivery_id: str) -> None:
    """Queue a failed message as if it had never been tried."""
    now = clock.now_text()
    db.execute(f"{_QUEUE_AGAIN} WHERE id = ? AND status = 'failed'", (now, now, delivery_id))


# `--all` must skip two kinds of failed messages. A message that was never tried was refused, because its session may
# not write to that room. A discarded message was given up by the operator.
_TRIED = "FROM deliveries WHERE status = 'failed' AND attempts > 0 AND last_error IS NOT 'discarded'"


def queue_all_again(db: apsw.Connection, limit: int) -> list[str]:
    """Queue the oldest failed messages that were tried, in one transaction.

    Returns:
        Their ids in the order of their positions.
    """
    now = clock.now_text()
    query = f"{_QUEUE_AGAIN} WHERE id IN (SELECT id {_TRIED} ORDER BY position LIMIT ?) RETURNING position, id"
    return [delivery_id for _, delivery_id in sorted(db.execute(query, (now, now, limit)))]


def count_tried_and_failed(db: apsw.Connection) -> int:
    """Return the number of failed messages that were tried."""
    return int(db.execute(f"SELECT count(*) {_TRIED}").get)


def discard(db: apsw.Connection, delivery_id: str) -> None:
    """Mark a queued message as failed. Its queue reads the status before it sends."""
    query = "UPDATE deliveries SET status = 'failed', last_error = 'discarded', updated_at = ? WHERE id = ?"
    db.execute(f"{query} AND status = 'queued'", (clock.now_text(), delivery_id))
