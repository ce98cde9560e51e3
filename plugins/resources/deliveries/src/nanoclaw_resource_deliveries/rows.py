"""The rows of deliveries, as far as the operator changes them by hand."""

from __future__ import annotations

import apsw
from nanoclaw_wire import clock


def status_of(db: apsw.Connection, delivery_id: str) -> str | None:
    """Return how far a delivery is, or None where there is none."""
    found: str | None = db.execute("SELECT status FROM deliveries WHERE id = ?", (delivery_id,)).get
    return found


_AGAIN = "UPDATE deliveries SET status = 'queued', attempts = 0, next_try_at = NULL, retried_at = ?, updated_at = ?"


def queue_again(db: apsw.Connection, delivery_id: str) -> None:
    """Put a failed message back to where it began."""
    now = clock.now_text()
    db.execute(f"{_AGAIN} WHERE id = ? AND status = 'failed'", (now, now, delivery_id))


# A message that was never tried was refused at the border (its session may not write there), and `--all` must not send
# it. A discarded one was given up by the operator.
_TRIED = "FROM deliveries WHERE status = 'failed' AND attempts > 0 AND last_error IS NOT 'discarded'"


def queue_all_again(db: apsw.Connection, limit: int) -> list[str]:
    """Put the oldest messages that were tried and failed back, all or none; return their ids in their order."""
    now = clock.now_text()
    query = f"{_AGAIN} WHERE id IN (SELECT id {_TRIED} ORDER BY position LIMIT ?) RETURNING position, id"
    return [delivery_id for _, delivery_id in sorted(db.execute(query, (now, now, limit)))]


def count_tried_and_failed(db: apsw.Connection) -> int:
    """Return how many messages were tried and failed for good."""
    return int(db.execute(f"SELECT count(*) {_TRIED}").get)


def discard(db: apsw.Connection, delivery_id: str) -> None:
    """Mark a queued message as failed; its queue reads the mark before it sends."""
    query = "UPDATE deliveries SET status = 'failed', last_error = 'discarded', updated_at = ? WHERE id = ?"
    db.execute(f"{query} AND status = 'queued'", (clock.now_text(), delivery_id))
