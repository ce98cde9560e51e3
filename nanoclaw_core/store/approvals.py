"""Held actions: the exact request is kept until a human answers or it expires."""

from __future__ import annotations

import apsw
from attrs import frozen

from nanoclaw_core.ids import ApprovalId
from nanoclaw_core.store.connection import insert, row, rows


@frozen(kw_only=True)
class Approval:
    """A held step. `arguments` is the complete request as canonical JSON; times are clock text form."""

    id: ApprovalId
    kind: str
    name: str
    arguments: str
    session_id: str | None
    agent_group_id: str | None
    created_at: str
    expires_at: str
    status: str = "pending"
    decided_by: str | None = None
    decided_at: str | None = None


def add(db: apsw.Connection, approval: Approval) -> None:
    """Keep a held step."""
    insert(db, "approvals", approval)


def get(db: apsw.Connection, approval_id: ApprovalId) -> Approval | None:
    """Return an approval, or None."""
    return row(db, Approval, "approvals WHERE id = ?", (approval_id,))


def waiting(db: apsw.Connection) -> list[Approval]:
    """Return what waits for an answer, oldest first."""
    return rows(db, Approval, "approvals WHERE status = 'pending' ORDER BY created_at, id")


def expire(db: apsw.Connection, now: str) -> int:
    """End what nobody answered in time; return how many."""
    db.execute(
        "UPDATE approvals SET status = 'expired', decided_at = ? WHERE status = 'pending' AND expires_at <= ?",
        (now, now),
    )
    return db.changes()
