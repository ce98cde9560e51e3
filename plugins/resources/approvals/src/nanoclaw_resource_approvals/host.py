"""The resource `approvals`: requests of agents that need a human's approval.

Without this plugin: such requests stay pending, and none of them is executed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Set
from typing import Any

from attrs import frozen

from nanoclaw_core import (
    Access,
    ApprovalId,
    Caller,
    Column,
    Parameter,
    PluginContext,
    Resource,
    Service,
    Verb,
    hookimpl,
)
from nanoclaw_resource_approvals.approvals import Approvals
from nanoclaw_resource_approvals.presentation import present

EXPIRY_CHECK_S = 60.0  # delays only the note to the agent: an answer checks the expiry itself
COLUMNS = (
    Column(name="id"),
    Column(name="status", choices=("pending", "approved", "rejected", "expired")),
    Column(name="kind", choices=("verb", "action")),
    Column(name="name", help="the requested verb or action"),
    Column(name="arguments", kind=dict, help="the complete request; JSON in a string is shown as structure"),
    Column(name="agent_group_id", help="the requesting agent"),
    Column(name="session_id", help="the conversation of the request"),
    Column(name="created_at"),
    Column(name="expires_at"),
    Column(name="decided_by"),
    Column(name="decided_at"),
    Column(name="used_at", help="when its execution began"),
    Column(name="outcome", kind=dict, help="the result or the error, as an answer frame"),
)
ID = Parameter(name="id", is_required=True, is_positional=True, help="the approval, apr-…")


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="approvals",
        table="approvals",
        columns=COLUMNS,
        scope_column="agent_group_id",
        display=("id", "status", "name", "agent_group_id", "created_at", "expires_at", "decided_by"),
        present=present,
        help="requests of agents that need a human's approval",
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Contribute the two answers. Only the operator may use them."""
    reason = Parameter(name="reason", help="why the request is rejected, for the agent")
    yield Verb(
        resource="approvals",
        name="approve",
        access=Access.OPERATOR_ONLY,
        run=_approve,
        parameters=(ID,),
        help="approve a request and execute it as the requesting agent",
    )
    yield Verb(
        resource="approvals",
        name="reject",
        access=Access.OPERATOR_ONLY,
        run=_reject,
        parameters=(ID, reason),
        help="reject a request",
    )


@hookimpl
def nanoclaw_services() -> Iterator[Service]:
    """Contribute the service that resumes requests after a crash and expires unanswered ones."""
    yield Service(name="approvals", connect=lambda _settings, context: ApprovalService.create(Approvals(context)))


@frozen
class ApprovalService:
    """Resumes and expires requests while a host runs.

    Args:
        approvals: The requests of the host.
        unfinished: Requests that an earlier host left. This host is executing every other unfinished request.
    """

    approvals: Approvals
    unfinished: Set[ApprovalId]

    @classmethod
    def create(cls, approvals: Approvals) -> ApprovalService:
        """Create the service before this host executes its first approved request."""
        return cls(approvals, frozenset(approvals.unfinished()))

    async def run(self) -> None:
        """Resume the requests of an earlier host, then expire requests once a minute."""
        await self.approvals.resume(self.unfinished)
        while True:
            await self.approvals.expire()
            await asyncio.sleep(EXPIRY_CHECK_S)


async def _approve(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> Mapping[str, Any]:
    request_id = ApprovalId(arguments["id"])
    return await Approvals(context).answer(request_id, caller, approve=True, decided_by="operator")


async def _reject(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> Mapping[str, Any]:
    reason = arguments.get("reason") or ""
    request_id = ApprovalId(arguments["id"])
    return await Approvals(context).answer(request_id, caller, approve=False, decided_by="operator", reason=reason)
