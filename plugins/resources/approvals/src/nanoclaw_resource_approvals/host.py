"""What agents asked for and a human decides, as a noun: `ncl approvals`.

Without this plugin: what needs a human stays held, and nothing that was held is done.
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

EVERY_S = 60.0  # how late an approval may be told to have expired; whether it has is looked at when it is answered
COLUMNS = (
    Column(name="id"),
    Column(name="status", choices=("pending", "approved", "rejected", "expired")),
    Column(name="kind", choices=("verb", "action")),
    Column(name="name", help="what is asked for"),
    Column(name="arguments", kind=dict, help="the whole request, as it will be carried out"),
    Column(name="agent_group_id", help="the agent that asks"),
    Column(name="session_id", help="the conversation in which it asks"),
    Column(name="created_at"),
    Column(name="expires_at"),
    Column(name="decided_by"),
    Column(name="decided_at"),
    Column(name="used_at", help="when it was begun to be carried out"),
    Column(name="outcome", kind=dict, help="what came of it"),
)
ID = Parameter(name="id", is_required=True, is_positional=True, help="the approval, apr-…")


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(
        name="approvals",
        table="approvals",
        columns=COLUMNS,
        scope_column="agent_group_id",
        display=("id", "status", "name", "agent_group_id", "created_at", "expires_at", "decided_by"),
        help="what agents asked for and a human decides",
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Offer the two answers, for the operator alone."""
    reason = Parameter(name="reason", help="why not; the agent is told")
    yield Verb(
        resource="approvals",
        name="approve",
        access=Access.DENY,
        run=_approve,
        parameters=(ID,),
        help="agree to what is held, and have it carried out as the agent that asked",
    )
    yield Verb(
        resource="approvals",
        name="reject",
        access=Access.DENY,
        run=_reject,
        parameters=(ID, reason),
        help="turn down what is held",
    )


@hookimpl
def nanoclaw_services() -> Iterator[Service]:
    """Offer what goes on after a crash, and ends what nobody answers."""
    yield Service(name="approvals", connect=lambda _settings, context: Keeper.of(Approvals(context)))


@frozen
class Keeper:
    """Looks after what is held while a host runs.

    Args:
        left: What an earlier host left unfinished; whatever else is, this host is at it.
    """

    approvals: Approvals
    left: Set[ApprovalId]

    @classmethod
    def of(cls, approvals: Approvals) -> Keeper:
        """Make one, before this host does anything that was approved."""
        return cls(approvals, frozenset(approvals.unfinished()))

    async def run(self) -> None:
        """Finish what an earlier host left, then look once a minute for what expired."""
        await self.approvals.resume(self.left)
        while True:
            await self.approvals.expire()
            await asyncio.sleep(EVERY_S)


async def _approve(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> Mapping[str, Any]:
    return await Approvals(context).answer(ApprovalId(arguments["id"]), caller, approve=True, by="operator")


async def _reject(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> Mapping[str, Any]:
    reason = arguments.get("reason") or ""
    held = ApprovalId(arguments["id"])
    return await Approvals(context).answer(held, caller, approve=False, by="operator", reason=reason)
