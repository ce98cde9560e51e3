"""Requests that wait for an approval: each is kept exactly until a human answers or it expires."""

from __future__ import annotations

import apsw
from attrs import frozen
from nanoclaw_wire import clock

from nanoclaw_core.ids import ApprovalId, GroupId, SessionId
from nanoclaw_core.store.connection import row


@frozen(kw_only=True)
class Approval:
    """A held request. All times are in clock text form.

    Args:
        arguments: The complete arguments as canonical JSON.
        used_at: The time of its execution; None if it was not executed.
        outcome: Its result, an answer frame as JSON; None until it is known.
    """

    id: ApprovalId
    kind: str
    name: str
    arguments: str
    session_id: SessionId | None
    agent_group_id: GroupId | None
    created_at: str
    expires_at: str
    status: str = "pending"
    decided_by: str | None = None
    decided_at: str | None = None
    used_at: str | None = None
    outcome: str | None = None


def get(db: apsw.Connection, approval_id: ApprovalId) -> Approval | None:
    """Return an approval, or None."""
    return row(db, Approval, "approvals WHERE id = ?", (approval_id,))


def use(db: apsw.Connection, approval: Approval) -> bool:
    """Use up the grant of exactly this request; return False if none is left."""
    query = "UPDATE approvals SET used_at = ? WHERE id = ? AND status = 'approved' AND used_at IS NULL AND kind = ?"
    request = (approval.kind, approval.name, approval.arguments, approval.session_id)
    db.execute(f"{query} AND name = ? AND arguments = ? AND session_id IS ?", (clock.now_text(), approval.id, *request))
    return bool(db.changes())
