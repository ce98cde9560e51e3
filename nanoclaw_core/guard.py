"""The guard: every privileged step passes one pure function, with its reason (I8).

What is held is kept exactly as it was asked, under an id, until a human answers or it expires.
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

from nanoclaw_core.descriptors.votes import Access, Caller, DeliveryRequest, Step, StepKind, Verdict, Vote
from nanoclaw_core.errors import ApprovalPending, Forbidden
from nanoclaw_core.ids import ApprovalId, new_id
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store import approvals
from nanoclaw_core.store.approvals import Approval
from nanoclaw_core.store.connection import insert
from nanoclaw_core.store.messaging import is_wired

WAITING_AT_MOST = 100  # of one agent: it must not bury what others ask for
HELD_FOR = timedelta(days=7)  # who comes back after a weekend finds it; what is older would be done out of the blue


class Ruling(Enum):
    """What the guard says."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"


@frozen
class Decision:
    """A ruling and its reason."""

    ruling: Ruling
    reason: str


def decide(step: Step, objection: Verdict | None, *, grant_is_valid: bool) -> Decision:
    """Decide about a step.

    Args:
        objection: The first DENY of the vote, or None.
        grant_is_valid: True where the step carries the id of an approval that a human gave for exactly this step.
    """
    if step.caller.operator:
        return Decision(Ruling.ALLOW, "the operator")
    if step.caller.agent_group_id is None or step.caller.session_id is None:
        return Decision(Ruling.DENY, "nobody knows who asks")
    if objection is not None:
        return Decision(Ruling.DENY, objection.reason or "a plugin objects")
    if step.access is Access.OPEN:
        return Decision(Ruling.ALLOW, "open to agents")
    if step.access is Access.HOLD:
        if step.grant is None:
            return Decision(Ruling.HOLD, "a human must approve it")
        if grant_is_valid:
            return Decision(Ruling.ALLOW, "approved")
        return Decision(Ruling.DENY, "its approval was for something else, or counted already")
    return Decision(Ruling.DENY, "for the operator alone")


def step_of(
    kind: StepKind, name: str, access: Access, caller: Caller, arguments: Mapping[str, Any], grant: str | None = None
) -> Step:
    """Return a step, its arguments as the canonical JSON by which approvals know it again."""
    text = json.dumps(arguments, sort_keys=True)
    return Step(kind=kind, name=name, access=access, caller=caller, arguments_json=text, grant=grant)


@frozen(kw_only=True)
class Guard:
    """Asks the vote, decides, and keeps what is held."""

    db: apsw.Connection
    plugins: Plugins

    def check(self, step: Step) -> None:
        """Let a step pass, or stop it.

        Raises:
            ApprovalPending: It is held; the message names the approval.
            Forbidden: It is denied; the message says why.
        """
        objection = None if step.caller.operator else self.plugins.objection("nanoclaw_permit_action", step=step)
        granted = objection is None and step.grant is not None and approvals.use(self.db, _as_approval(step))
        decision = decide(step, objection, grant_is_valid=granted)
        if decision.ruling is Ruling.DENY:
            raise Forbidden(f"{step.name} is not allowed: {decision.reason}")
        if decision.ruling is Ruling.HOLD:
            mine = "SELECT count(*) FROM approvals WHERE status = 'pending' AND agent_group_id = ?"
            if self.db.execute(mine, (step.caller.agent_group_id,)).get >= WAITING_AT_MOST:
                raise Forbidden(f"{WAITING_AT_MOST} requests of this agent wait for a human; ask again after those")
            insert(self.db, "approvals", asked := _as_approval(step))
            raise ApprovalPending(f"{step.name} waits for a human: {asked.id}")

    def check_delivery(self, request: DeliveryRequest) -> None:
        """Let a session write to a room that it did not come from, or stop it; silence is a no where none wired it.

        Raises:
            Forbidden: The message says why.
        """
        address = request.address
        is_destination = is_wired(self.db, request.agent_group_id, address.channel, address.room)
        ask = self.plugins.objection if is_destination else self.plugins.permits  # a wiring makes a destination (⚠17)
        verdict = ask("nanoclaw_permit_delivery", request=request)
        if verdict is not None and verdict.vote is not Vote.ALLOW:
            raise Forbidden(f"this session may not write to that room: {verdict.reason}")


def _as_approval(step: Step) -> Approval:
    now = clock.now()
    return Approval(
        id=ApprovalId(step.grant or new_id("apr")),
        kind=step.kind.value,
        name=step.name,
        arguments=step.arguments_json,
        session_id=step.caller.session_id,
        agent_group_id=step.caller.agent_group_id,
        created_at=clock.to_text(now),
        expires_at=clock.to_text(now + HELD_FOR),
    )
