"""The rows of deliveries, as far as the operator changes them by hand."""

from __future__ import annotations

import apsw
from nanoclaw_wire import clock


def status_of(db: apsw.Connection, delivery_id: str) -> str | None:
    """Return how far a delivery is, or None where there is none."""
    found: str | None = db.execute("SELECT status FROM deliveries WHERE id = ?", (delivery_id,)).get
    return found


def queue_again(db: apsw.Connection, delivery_id: str) -> None:
    """Put what failed back to where it began."""
    query = "UPDATE deliveries SET status = 'queued', attempts = 0, next_try_at = NULL, updated_at = ? WHERE id = ?"
    db.execute(f"{query} AND status = 'failed'", (clock.now_text(), delivery_id))


# A message that was never tried was refused at the border (its session may not write there), and `--all` must not send
# it. A discarded one was given up by the operator.
_TRIED = "FROM deliveries WHERE status = 'failed' AND attempts > 0 AND last_error IS NOT 'discarded'"


def tried_and_failed(db: apsw.Connection, limit: int) -> list[str]:
    """Return the ids of messages that were tried and failed for good, oldest first."""
    return [delivery_id for (delivery_id,) in db.execute(f"SELECT id {_TRIED} ORDER BY position LIMIT ?", (limit,))]


def count_tried_and_failed(db: apsw.Connection) -> int:
    """Return how many messages were tried and failed for good."""
    return int(db.execute(f"SELECT count(*) {_TRIED}").get)


def discard(db: apsw.Connection, delivery_id: str) -> None:
    """Mark what waits as failed; whoever is about to send it looks at the mark."""
    query = "UPDATE deliveries SET status = 'failed', last_error = 'discarded', updated_at = ? WHERE id = ?"
    db.execute(f"{query} AND status = 'queued'", (clock.now_text(), delivery_id))
