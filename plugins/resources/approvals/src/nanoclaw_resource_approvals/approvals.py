"""Answers pending requests.

It claims the row first, then executes it as the requesting agent (⚠13, ⚠14).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Set
from typing import Any

from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.frames import Answer, Code

from nanoclaw_core import ApprovalId, Caller, Forbidden, NanoclawError, NotFound, PluginContext
from nanoclaw_resource_approvals import rows
from nanoclaw_resource_approvals.rows import HeldRequest

log = logging.getLogger("nanoclaw.approvals")
MAX_NOTE_CHARACTERS = 4_000  # an agent requests a longer result again instead of reading it from a note


@frozen
class Approvals:
    """The pending requests of one host."""

    context: PluginContext

    async def answer(
        self, approval_id: ApprovalId, caller: Caller, *, approve: bool, decided_by: str, reason: str = ""
    ) -> Mapping[str, Any]:
        """Approve or reject a pending request.

        An approved request is executed before this returns.

        Args:
            approval_id: The request, `apr-…`.
            caller: The person who answers. Receives the progress lines of the execution.
            approve: True approves, False rejects.
            decided_by: The name of that person, as stored in the row.
            reason: Why the request is rejected, for the agent. May be empty.

        Returns:
            `{id, status, outcome}`. The outcome is an answer frame, or None if the request was rejected.

        Raises:
            NotFound: No approval has this id.
            Forbidden: The request is already answered or has expired.
        """
        status = "approved" if approve else "rejected"
        now = clock.now_text()
        was_pending = rows.decide(self.context.database, approval_id, status=status, decided_by=decided_by, now=now)
        request = rows.get(self.context.database, approval_id)
        if request is None:
            raise NotFound(f"approvals: no approval has the id {approval_id!r}. `ncl approvals list` shows them")
        if not was_pending:
            state = f"is already {request.status}" if request.status != "pending" else "has expired"
            raise Forbidden(f"approvals: {approval_id} {state}. Each approval accepts one answer")
        extra = {"approval": request.id, "step": request.name, "status": status, "by": decided_by}
        log.info("approval answered", extra=extra)
        if approve:
            outcome = await self._execute(request, caller)
            return {"id": request.id, "status": status, "outcome": outcome.as_json_object()}
        await self._notify_agent(request, f"was rejected{f': {reason}' if reason else ''}.")
        return {"id": request.id, "status": status, "outcome": None}

    def unfinished(self) -> list[ApprovalId]:
        """Return the approved requests that have no recorded outcome."""
        return [request.id for request in rows.unfinished(self.context.database)]

    async def resume(self, unfinished: Set[ApprovalId]) -> None:
        """Finish requests of an earlier host.

        Execute each one that was not begun, and fail the others.
        """
        for request in [request for request in rows.unfinished(self.context.database) if request.id in unfinished]:
            if request.used_at is None:
                await self._execute(request, Caller())
                continue
            message = "the host stopped while the request was running. Check whether it took effect"
            await self._finish(request, Answer(id=request.id, ok=False, code=Code.HANDLER_ERROR, message=message))

    async def expire(self) -> None:
        """Expire the requests that got no answer in time, and notify their agents."""
        for request in rows.expire(self.context.database, clock.now_text()):
            log.info("approval expired", extra={"approval": request.id, "step": request.name})
            await self._notify_agent(request, "expired without an answer. Ask again if you still need it.")

    async def _execute(self, request: HeldRequest, caller: Caller) -> Answer:
        answer = await self.context.operations.execute_approved(request.id, caller.progress)
        await self._finish(request, answer)
        return answer

    async def _finish(self, request: HeldRequest, answer: Answer) -> None:
        line = answer.as_line().decode()
        rows.finish(self.context.database, request.id, line)
        frame = json.loads(line)
        if frame["ok"]:
            data = json.dumps(frame["data"], ensure_ascii=False)
            await self._notify_agent(request, f"was approved and done: {data}")
        else:
            await self._notify_agent(request, f"was approved, but it failed: {frame['error']['message']}")

    async def _notify_agent(self, request: HeldRequest, result: str) -> None:
        if request.session_id is None:
            return
        text = f"Your request `{request.name}` ({request.id}) {result}"
        try:
            await self.context.operations.note_to_agent(request.session_id, text[:MAX_NOTE_CHARACTERS])
        except NanoclawError as error:
            extra = {"approval": request.id, "reason": str(error)}
            log.warning("agent not notified of the outcome", extra=extra)
