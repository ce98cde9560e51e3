"""Actions: what runners ask of the host. Each passes the guard, runs at most once, and gets a system row as answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.inbound import Kind, NewInbound

from nanoclaw_core import logs
from nanoclaw_core.delivery.content import Request
from nanoclaw_core.descriptors.administration import Action
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.votes import Caller, Step, StepKind
from nanoclaw_core.errors import PLUGIN_TROUBLE, NanoclawError, UnknownCommand
from nanoclaw_core.guard import Guard
from nanoclaw_core.ids import new_id
from nanoclaw_core.mailbox.inbox import Inboxes
from nanoclaw_core.plugins import Offer

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Actions:
    """Carries out what runners ask for."""

    offers: Mapping[str, Offer[Action]]
    guard: Guard
    inboxes: Inboxes
    context_of: Callable[[str], PluginContext]
    ring: Callable[[str], None]

    async def carry_out(self, request: Request, caller: Caller) -> None:
        """Do what was asked, or not, and answer the runner."""
        with logs.context(session=caller.session_id or "", correlation=request.correlation_id or request.request_id):
            await self._carry_out(request, caller)

    async def _carry_out(self, request: Request, caller: Caller) -> None:
        try:
            answer: dict[str, Any] = {"ok": True, "data": await self._run(request, caller)}
        except NanoclawError as error:
            answer = {"ok": False, "error": {"code": error.code, "message": str(error)}}
        except PLUGIN_TROUBLE as error:  # the call fence: an action is a plugin's code
            log.exception("action failed", extra={"action": request.action})
            answer = {"ok": False, "error": {"code": "handler-error", "message": f"{type(error).__name__}: {error}"}}
        await self._answer(request, caller, answer)

    async def _run(self, request: Request, caller: Caller) -> Any:
        offer = self.offers.get(request.action)
        if offer is None:
            known = ", ".join(sorted(self.offers)) or "none"
            raise UnknownCommand(f"there is no action {request.action!r}; there are: {known}")
        step = Step(
            kind=StepKind.ACTION,
            name=request.action,
            access=offer.item.access,
            caller=caller,
            arguments_json=json.dumps(request.arguments, sort_keys=True),
        )
        self.guard.check(step)
        return await offer.item.run(request.arguments, caller, self.context_of(offer.plugin))

    async def _answer(self, request: Request, caller: Caller, answer: dict[str, Any]) -> None:
        if caller.session_id is None:
            return
        row = NewInbound(
            id=new_id("sys"),
            kind=Kind.SYSTEM,
            at=clock.now_text(),
            content=json.dumps({"type": "response", "request_id": request.request_id, **answer}),
            trigger=False,
        )
        await self.inboxes.append(caller.session_id, [row])
        self.ring(caller.session_id)
