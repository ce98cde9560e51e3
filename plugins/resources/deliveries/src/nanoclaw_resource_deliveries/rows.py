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


def discard(db: apsw.Connection, delivery_id: str) -> None:
    """Mark what waits as failed; whoever is about to send it looks at the mark."""
    query = "UPDATE deliveries SET status = 'failed', last_error = 'discarded', updated_at = ? WHERE id = ?"
    db.execute(f"{query} AND status = 'queued'", (clock.now_text(), delivery_id))
