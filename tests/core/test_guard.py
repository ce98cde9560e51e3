"""The guard: decides by caller, access, objection and grant, and stores held requests unchanged (I8)."""

import json
from datetime import timedelta

import pytest
from attrs import evolve
from nanoclaw_wire import clock

from nanoclaw_core import (
    Access,
    Address,
    ApprovalPending,
    Caller,
    DeliveryRequest,
    Forbidden,
    GroupId,
    PermissionRequest,
    RequestKind,
    SessionId,
    Verdict,
    Vote,
    hookimpl,
)
from nanoclaw_core.guard import APPROVAL_AGE, MAX_PENDING, Decision, Effect, Guard, decide
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store import approvals, sessions
from nanoclaw_core.store.approvals import Approval
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.instance import Instance

OPERATOR = Caller(operator=True)
AGENT = Caller(session_id=SessionId("ses-1"), agent_group_id=GroupId("ag-1"))
UNKNOWN = Caller()
NO = Verdict(Vote.DENY, "not today")
ALLOW, HOLD, DENY = Effect.ALLOW, Effect.HOLD, Effect.DENY


def make_request(access: Access, caller: Caller = AGENT, **more: object) -> PermissionRequest:
    return PermissionRequest(kind=RequestKind.VERB, name="groups create", access=access, caller=caller, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("caller", "access", "objection", "granted", "effect"),
    [
        (OPERATOR, Access.ALLOWED, None, False, ALLOW),
        (OPERATOR, Access.NEEDS_APPROVAL, None, False, ALLOW),
        (OPERATOR, Access.OPERATOR_ONLY, None, False, ALLOW),
        (AGENT, Access.ALLOWED, None, False, ALLOW),
        (AGENT, Access.ALLOWED, NO, False, DENY),
        (AGENT, Access.NEEDS_APPROVAL, None, False, HOLD),
        (AGENT, Access.NEEDS_APPROVAL, None, True, ALLOW),
        (AGENT, Access.NEEDS_APPROVAL, NO, True, DENY),
        (AGENT, Access.OPERATOR_ONLY, None, False, DENY),
        (AGENT, Access.OPERATOR_ONLY, None, True, DENY),
        (UNKNOWN, Access.ALLOWED, None, False, DENY),
        (UNKNOWN, Access.NEEDS_APPROVAL, None, True, DENY),
        (UNKNOWN, Access.OPERATOR_ONLY, None, False, DENY),
        (evolve(AGENT, session_id=None), Access.ALLOWED, None, False, DENY),
        (evolve(AGENT, agent_group_id=None), Access.ALLOWED, None, False, DENY),
    ],
)
def test_guard_decides_by_caller_access_vote_and_grant(
    caller: Caller, access: Access, objection: Verdict | None, granted: bool, effect: Effect
) -> None:
    asked = make_request(access, caller, grant="apr-1" if granted else None)
    assert decide(asked, objection, grant_is_valid=granted).effect is effect


def test_grant_id_without_valid_grant_is_denied() -> None:
    assert decide(make_request(Access.NEEDS_APPROVAL, grant="apr-1"), None, grant_is_valid=False).effect is DENY


def test_valid_grant_without_grant_id_needs_approval() -> None:
    assert decide(make_request(Access.NEEDS_APPROVAL), None, grant_is_valid=True).effect is HOLD


def test_denial_has_the_reason_of_the_objection() -> None:
    assert decide(make_request(Access.ALLOWED), NO, grant_is_valid=False) == Decision(DENY, "not today")


class Objecting:
    """A plugin that objects to each request, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    @hookimpl
    def nanoclaw_permit_action(self, request: PermissionRequest) -> Verdict:
        if self._error:
            raise self._error
        return NO


def make_guard(instance: Instance, **plugins: object) -> tuple[Guard, Caller]:
    loaded = Plugins()
    for name, plugin in plugins.items():
        loaded.add(plugin, name=name)
    group = instance.group()
    session = Session(agent_group_id=group.id, conversation="agent")
    sessions.add(instance.db, session)
    return Guard(db=instance.db, plugins=loaded), Caller(session_id=session.id, agent_group_id=group.id)


def held(guard: Guard, asked: PermissionRequest) -> Approval:
    with pytest.raises(ApprovalPending):
        guard.check(asked)
    (newest,) = guard.db.execute("SELECT id FROM approvals ORDER BY rowid DESC LIMIT 1").fetchone()
    approval = approvals.get(guard.db, newest)
    assert approval is not None
    return approval


def approve(instance: Instance, approval: Approval, status: str = "approved") -> None:
    instance.db.execute("UPDATE approvals SET status = ? WHERE id = ?", (status, approval.id))


def test_held_request_is_stored_unchanged(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    arguments = json.dumps({"name": 'a "b"\n', "deep": {"list": [1, None]}}, sort_keys=True)
    approval = held(guard, make_request(Access.NEEDS_APPROVAL, caller, arguments_json=arguments))
    assert (approval.kind, approval.name, approval.arguments) == ("verb", "groups create", arguments)
    assert (approval.session_id, approval.agent_group_id) == (caller.session_id, caller.agent_group_id)
    age = clock.from_text(approval.expires_at) - clock.from_text(approval.created_at)
    assert abs(age - APPROVAL_AGE) < timedelta(seconds=1)


def test_pending_error_names_the_approval(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    with pytest.raises(ApprovalPending, match=r"groups create waits for a human: apr-[0-9a-f]{12}"):
        guard.check(make_request(Access.NEEDS_APPROVAL, caller))


def test_pending_requests_of_an_agent_are_limited(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    for _ in range(MAX_PENDING):
        held(guard, make_request(Access.NEEDS_APPROVAL, caller))
    with pytest.raises(Forbidden, match="wait for a human"):
        guard.check(make_request(Access.NEEDS_APPROVAL, caller))
    bare_instance.db.execute("UPDATE approvals SET status = 'rejected'")
    held(guard, make_request(Access.NEEDS_APPROVAL, caller))


def test_approved_request_passes(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    asked = make_request(Access.NEEDS_APPROVAL, caller, arguments_json='{"a": 1}')
    approval = held(guard, asked)
    approve(bare_instance, approval)
    guard.check(evolve(asked, grant=approval.id))


@pytest.mark.parametrize("status", ["pending", "rejected", "expired"])
def test_unapproved_request_is_refused(bare_instance: Instance, status: str) -> None:
    guard, caller = make_guard(bare_instance)
    asked = make_request(Access.NEEDS_APPROVAL, caller)
    approval = held(guard, asked)
    approve(bare_instance, approval, status)
    with pytest.raises(Forbidden, match="its approval was for another request or was already used"):
        guard.check(evolve(asked, grant=approval.id))


@pytest.mark.parametrize(
    "other",
    [{"arguments_json": '{"a": 2}'}, {"name": "groups delete"}, {"kind": RequestKind.ACTION}, {"grant": "apr-none"}],
)
def test_grant_for_another_request_is_refused(bare_instance: Instance, other: dict[str, object]) -> None:
    guard, caller = make_guard(bare_instance)
    asked = make_request(Access.NEEDS_APPROVAL, caller, arguments_json='{"a": 1}')
    approval = held(guard, asked)
    approve(bare_instance, approval)
    with pytest.raises(Forbidden):
        guard.check(evolve(asked, **({"grant": approval.id} | other)))
    guard.check(evolve(asked, grant=approval.id))  # it is still valid for its own request


@pytest.mark.defect(number=13)
def test_grant_counts_once(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    asked = make_request(Access.NEEDS_APPROVAL, caller)
    approval = held(guard, asked)
    approve(bare_instance, approval)
    guard.check(evolve(asked, grant=approval.id))
    with pytest.raises(Forbidden):
        guard.check(evolve(asked, grant=approval.id))


def test_grant_of_another_session_is_refused(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    asked = make_request(Access.NEEDS_APPROVAL, caller)
    approval = held(guard, asked)
    approve(bare_instance, approval)
    other = Session(agent_group_id=bare_instance.group().id, conversation="other")
    sessions.add(bare_instance.db, other)
    stolen = evolve(asked, caller=evolve(caller, session_id=other.id), grant=approval.id)
    with pytest.raises(Forbidden):
        guard.check(stolen)


@pytest.mark.invariant(number=8)
def test_failing_vote_stops_an_agent(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance, a=Objecting(ZeroDivisionError()))
    with pytest.raises(Forbidden, match="the plugin a failed to vote"):
        guard.check(make_request(Access.ALLOWED, caller))


@pytest.mark.invariant(number=8)
def test_delivery_to_another_room_without_a_vote_is_refused(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    assert caller.session_id is not None
    assert caller.agent_group_id is not None
    elsewhere = Address("recorder", "another room")
    with pytest.raises(Forbidden, match="may not write to the room"):
        guard.check_delivery(
            DeliveryRequest(session_id=caller.session_id, agent_group_id=caller.agent_group_id, address=elsewhere)
        )


def wired(instance: Instance, guard: Guard, caller: Caller) -> DeliveryRequest:
    """Wire the agent to a second room, and return a request to write to it."""
    instance.wire(room="kitchen")
    assert caller.session_id is not None
    assert caller.agent_group_id is not None
    there = Address("recorder", "kitchen")
    return DeliveryRequest(session_id=caller.session_id, agent_group_id=caller.agent_group_id, address=there)


@pytest.mark.defect(number=17)
def test_wiring_makes_its_room_a_destination(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    guard.check_delivery(wired(bare_instance, guard, caller))


class DenyingDeliveries:
    """A plugin that denies each delivery to another room."""

    @hookimpl
    def nanoclaw_permit_delivery(self, request: DeliveryRequest) -> Verdict:
        return Verdict(Vote.DENY, f"not to {request.address.room}")


@pytest.mark.invariant(number=8)
def test_wired_room_with_an_objection_gets_nothing(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance, denying=DenyingDeliveries())
    with pytest.raises(Forbidden, match="not to kitchen"):
        guard.check_delivery(wired(bare_instance, guard, caller))


def test_wiring_of_another_agent_makes_no_destination(bare_instance: Instance) -> None:
    guard, caller = make_guard(bare_instance)
    request = evolve(wired(bare_instance, guard, caller), agent_group_id=bare_instance.group("other").id)
    with pytest.raises(Forbidden):
        guard.check_delivery(request)


def test_objection_does_not_stop_the_operator(bare_instance: Instance) -> None:
    guard, _ = make_guard(bare_instance, a=Objecting())
    guard.check(make_request(Access.OPERATOR_ONLY, OPERATOR))
