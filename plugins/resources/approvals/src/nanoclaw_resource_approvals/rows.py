"""The rows of pending requests. Each row accepts one answer and keeps its outcome."""

from __future__ import annotations

import apsw
from attrs import fields_dict, frozen

from nanoclaw_core import ApprovalId, SessionId


@frozen(kw_only=True)
class HeldRequest:
    """A request that waits, or waited, for a human.

    Args:
        id: `apr-…`.
        name: The requested verb or action.
        session_id: The conversation of the request. None if the session was deleted or the request has none.
        status: `pending`, `approved`, `rejected` or `expired`.
        used_at: When the execution began, in clock text form. None if it has not begun.
    """

    id: ApprovalId
    name: str
    session_id: SessionId | None
    status: str
    used_at: str | None


_COLUMNS = ", ".join(fields_dict(HeldRequest))


def get(db: apsw.Connection, approval_id: ApprovalId) -> HeldRequest | None:
    """Return the request with this id, or None."""
    requests = _select(db, "id = ?", approval_id)
    return requests[0] if requests else None


def decide(db: apsw.Connection, approval_id: ApprovalId, *, status: str, decided_by: str, now: str) -> bool:
    """Store the answer to a pending request. The first of two answers wins (⚠13).

    Returns:
        False if the request does not exist, is already answered or has expired.
    """
    query = "UPDATE approvals SET status = ?, decided_by = ?, decided_at = ? WHERE id = ?"
    db.execute(f"{query} AND status = 'pending' AND expires_at > ?", (status, decided_by, now, approval_id, now))
    return bool(db.changes())


def finish(db: apsw.Connection, approval_id: ApprovalId, outcome: str) -> None:
    """Store the outcome of a request, an answer frame."""
    db.execute("UPDATE approvals SET outcome = ? WHERE id = ?", (outcome, approval_id))


def unfinished(db: apsw.Connection) -> list[HeldRequest]:
    """Return the approved requests without an outcome, oldest answer first."""
    return _select(db, "status = 'approved' AND outcome IS NULL ORDER BY decided_at, id")


def expire(db: apsw.Connection, now: str) -> list[HeldRequest]:
    """Expire the overdue pending requests, and return them."""
    with db:
        expired = _select(db, "status = 'pending' AND expires_at <= ?", now)
        update = "UPDATE approvals SET status = 'expired', decided_at = ? WHERE id = ?"
        db.executemany(update, [(now, request.id) for request in expired])
    return expired


def _select(db: apsw.Connection, where: str, *bindings: str) -> list[HeldRequest]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM approvals WHERE {where}", bindings)
    return [HeldRequest(**dict(zip(fields_dict(HeldRequest), values, strict=True))) for values in rows]
