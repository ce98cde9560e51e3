"""The guard: one pure function decides about each privileged request, with a reason (I8).

A request that needs an approval is stored unchanged until a human answers or it expires.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

import apsw
from attrs import frozen
from nanoclaw_wire import clock

from nanoclaw_core.descriptors.votes import (
    Access,
    Caller,
    DeliveryRequest,
    PermissionRequest,
    RequestKind,
    Verdict,
    Vote,
)
from nanoclaw_core.errors import ApprovalPending, Forbidden
from nanoclaw_core.ids import ApprovalId, new_id
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store import approvals
from nanoclaw_core.store.approvals import Approval
from nanoclaw_core.store.connection import insert
from nanoclaw_core.store.messaging import is_wired

MAX_PENDING = 100  # of one agent, so that it cannot bury the requests of others
MAX_HELD = 20_000  # characters of a request's arguments, because each list of the pending ones reads them
APPROVAL_AGE = timedelta(days=7)  # outlasts a long weekend; an older request would run by surprise


class Effect(Enum):
    """Result of the guard."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


@frozen
class Decision:
    """An effect and its reason."""

    effect: Effect
    reason: str


def decide(request: PermissionRequest, objection: Verdict | None, *, grant_is_valid: bool) -> Decision:
    """Decide about a request.

    Args:
        request: The request.
        objection: The first DENY of the vote, or None.
        grant_is_valid: True if the request has the id of an approval for exactly this request.
    """
    if request.caller.operator:
        return Decision(Effect.ALLOW, "the operator")
    if request.caller.agent_group_id is None or request.caller.session_id is None:
        return Decision(Effect.DENY, "the caller is unknown")
    if objection is not None:
        return Decision(Effect.DENY, objection.reason or "a plugin objects")
    if request.access is Access.ALLOWED:
        return Decision(Effect.ALLOW, "open to agents")
    if request.access is Access.NEEDS_APPROVAL:
        if request.grant is None:
            return Decision(Effect.HOLD, "a human must approve it")
        if grant_is_valid:
            return Decision(Effect.ALLOW, "approved")
        return Decision(Effect.DENY, "its approval was for another request or was already used")
    return Decision(Effect.DENY, "only the operator may run it")


def permission_request(
    kind: RequestKind, name: str, access: Access, caller: Caller, arguments: Mapping[str, Any], grant: str | None = None
) -> PermissionRequest:
    """Return a request with its arguments as canonical JSON, which identifies its approval."""
    text = json.dumps(arguments, sort_keys=True)
    return PermissionRequest(kind=kind, name=name, access=access, caller=caller, arguments_json=text, grant=grant)


@frozen(kw_only=True)
class Guard:
    """Asks for votes, decides, and stores requests that need an approval."""

    db: apsw.Connection
    plugins: Plugins

    def check(self, request: PermissionRequest) -> None:
        """Check that a request may run.

        Raises:
            ApprovalPending: It needs an approval; the error has the approval's id.
            Forbidden: It is denied; the error has the reason.
        """
        caller, name = request.caller, request.name
        objection = None if caller.operator else self.plugins.objection("nanoclaw_permit_action", request=request)
        granted = objection is None and request.grant is not None and approvals.use(self.db, _as_approval(request))
        decision = decide(request, objection, grant_is_valid=granted)
        if decision.effect is Effect.DENY:
            raise Forbidden(f"{name} is not allowed: {decision.reason}")
        if decision.effect is Effect.HOLD:
            if (size := len(request.arguments_json)) > MAX_HELD:
                raise Forbidden(f"{name} has {size} characters, and at most {MAX_HELD} can wait. Ask the operator.")
            mine = "SELECT count(*) FROM approvals WHERE status = 'pending' AND agent_group_id = ?"
            if self.db.execute(mine, (caller.agent_group_id,)).get >= MAX_PENDING:
                raise Forbidden(f"{MAX_PENDING} requests of this agent already wait for a human. Ask again later.")
            insert(self.db, "approvals", asked := _as_approval(request))
            raise ApprovalPending(f"{name} waits for a human: {asked.id}")

    def check_delivery(self, request: DeliveryRequest) -> None:
        """Check that a session may write to a foreign room: it needs a wiring, or a vote that allows it.

        Raises:
            Forbidden: It may not; the error has the reason.
        """
        address = request.address
        is_destination = is_wired(self.db, request.agent_group_id, address.channel, address.room)
        ask = self.plugins.objection if is_destination else self.plugins.permits  # a wiring makes a destination (⚠17)
        verdict = ask("nanoclaw_permit_delivery", request=request)
        if verdict is not None and verdict.vote is not Vote.ALLOW:
            raise Forbidden(f"this session may not write to the room: {verdict.reason}")


def _as_approval(request: PermissionRequest) -> Approval:
    now = clock.now()
    return Approval(
        id=ApprovalId(request.grant or new_id("apr")),
        kind=request.kind.value,
        name=request.name,
        arguments=request.arguments_json,
        session_id=request.caller.session_id,
        agent_group_id=request.caller.agent_group_id,
        created_at=clock.to_text(now),
        expires_at=clock.to_text(now + APPROVAL_AGE),
    )
