"""Actions: requests of runners to the host.

Each passes the guard, runs at most once and gets an answer row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from nanoclaw_wire import clock, content
from nanoclaw_wire.content import ActionRequest
from nanoclaw_wire.frames import Code
from nanoclaw_wire.inbound import Kind, NewInbound

from nanoclaw_core import logs
from nanoclaw_core.descriptors.administration import Action
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.votes import Caller, RequestKind
from nanoclaw_core.dispatch import answer_errors
from nanoclaw_core.errors import Forbidden, UnknownCommand
from nanoclaw_core.guard import Guard, permission_request
from nanoclaw_core.ids import ApprovalId, new_id
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.plugins import Contribution
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.store.usage import Usage

MAX_ANSWER_CHARACTERS = 1_000_000


@frozen(kw_only=True)
class Actions:
    """Executes the actions that runners request."""

    actions: Mapping[str, Contribution[Action]]
    guard: Guard
    inbox: InboxWriter
    plugin_context: Callable[[str], PluginContext]
    supervisor: Supervisor
    usage: Usage

    async def execute(self, request: ActionRequest, caller: Caller) -> None:
        """Execute a request, and send the result or error to the runner."""
        with logs.context(session=caller.session_id or "", correlation=request.correlation_id or request.request_id):
            answer = await answer_errors(request.request_id, self._run(request, caller), request.action)
            await self._answer(request, caller, json.loads(answer.as_line()))

    async def run(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, grant: ApprovalId | None = None
    ) -> Any:
        """Run an action, with the grant of an approval if the request has one.

        Raises:
            UnknownCommand: The action does not exist.
            ApprovalPending, Forbidden: The guard does not let it run.
        """
        contribution = self.actions.get(name)
        if contribution is None:
            known = ", ".join(sorted(self.actions)) or "none"
            raise UnknownCommand(f"there is no action {name!r}; known actions: {known}")
        self.guard.check(
            permission_request(RequestKind.ACTION, name, contribution.value.access, caller, arguments, grant)
        )
        return await contribution.value.run(arguments, caller, self.plugin_context(contribution.plugin))

    async def _run(self, request: ActionRequest, caller: Caller) -> Any:
        if request.refusal:
            raise Forbidden(request.refusal)
        return await self.run(request.action, request.arguments, caller)

    async def _answer(self, request: ActionRequest, caller: Caller, answer: dict[str, Any]) -> None:
        if caller.session_id is None:
            return
        del answer["id"]
        text = content.response(request.request_id, answer)
        may_answer = self.usage.may_answer(caller.session_id, len(text.encode()))
        if len(text) > MAX_ANSWER_CHARACTERS or not may_answer:
            fault = f"the answer has {len(text)} characters, and at most {MAX_ANSWER_CHARACTERS} are sent. Ask for less"
            fault = fault if may_answer else "too many long answers at a time. Make one request after the other"
            error = {"ok": False, "error": {"code": Code.HANDLER_ERROR.value, "message": fault}}
            text = content.response(request.request_id, error)
        row = NewInbound(id=new_id("sys"), kind=Kind.SYSTEM, at=clock.now_text(), content=text, trigger=False)
        await self.inbox.append(caller.session_id, [row])
        self.supervisor.ring(caller.session_id)
