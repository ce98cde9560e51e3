"""The rows of held requests: each is answered once, and what came of it is kept."""

from __future__ import annotations

import apsw
from attrs import fields_dict, frozen

from nanoclaw_core import ApprovalId, SessionId


@frozen(kw_only=True)
class Held:
    """A held request.

    Args:
        used_at: When it was begun to be carried out, clock text form; None where it was not.
    """

    id: ApprovalId
    name: str
    session_id: SessionId | None
    status: str
    used_at: str | None


_COLUMNS = ", ".join(fields_dict(Held))


def get(db: apsw.Connection, approval_id: ApprovalId) -> Held | None:
    """Return a held request, or None."""
    found = _held(db, "id = ?", approval_id)
    return found[0] if found else None


def decide(db: apsw.Connection, approval_id: ApprovalId, *, status: str, by: str, now: str) -> bool:
    """Answer what waits; False where it does not wait (any more). Of two answers the first one counts (⚠13)."""
    query = "UPDATE approvals SET status = ?, decided_by = ?, decided_at = ? WHERE id = ?"
    db.execute(f"{query} AND status = 'pending' AND expires_at > ?", (status, by, now, approval_id, now))
    return bool(db.changes())


def finish(db: apsw.Connection, approval_id: ApprovalId, outcome: str) -> None:
    """Keep what came of it, an answer frame."""
    db.execute("UPDATE approvals SET outcome = ? WHERE id = ?", (outcome, approval_id))


def unfinished(db: apsw.Connection) -> list[Held]:
    """Return what was approved and of which nobody knows what became, oldest answer first."""
    return _held(db, "status = 'approved' AND outcome IS NULL ORDER BY decided_at, id")


def expire(db: apsw.Connection, now: str) -> list[Held]:
    """End what nobody answered in time, and return it."""
    with db:
        late = _held(db, "status = 'pending' AND expires_at <= ?", now)
        db.executemany(
            "UPDATE approvals SET status = 'expired', decided_at = ? WHERE id = ?", [(now, one.id) for one in late]
        )
    return late


def _held(db: apsw.Connection, where: str, *bindings: str) -> list[Held]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM approvals WHERE {where}", bindings)
    return [Held(**dict(zip(fields_dict(Held), values, strict=True))) for values in rows]
