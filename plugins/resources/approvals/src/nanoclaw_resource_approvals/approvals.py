"""Answering held requests: claimed first, then carried out as the agent that asked (⚠13, ⚠14)."""

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
from nanoclaw_resource_approvals.rows import Held

log = logging.getLogger("nanoclaw.approvals")
TOLD_AT_MOST = 4_000  # characters of what came of it; what is longer is asked for again and not read from a note


@frozen
class Approvals:
    """The held requests of one host."""

    context: PluginContext

    async def answer(
        self, approval_id: ApprovalId, caller: Caller, *, approve: bool, by: str, reason: str = ""
    ) -> Mapping[str, Any]:
        """Approve or reject what is held; what is approved is carried out before this returns.

        Args:
            caller: Who answers, and sees how it goes on.
            by: Their name in the row.

        Returns:
            `{id, status, outcome}`; the outcome is an answer frame, None of what was rejected.

        Raises:
            NotFound: There is no such approval.
            Forbidden: It was answered already, or it expired.
        """
        status = "approved" if approve else "rejected"
        now = clock.now_text()
        was_waiting = rows.decide(self.context.database, approval_id, status=status, by=by, now=now)
        held = rows.get(self.context.database, approval_id)
        if held is None:
            raise NotFound(f"there is no approval {approval_id!r}; `ncl approvals list` shows what waits")
        if not was_waiting:
            state = f"is {held.status} already" if held.status != "pending" else "has expired"
            raise Forbidden(f"{approval_id} {state}; an approval is answered once")
        log.info("approval answered", extra={"approval": held.id, "step": held.name, "status": status, "by": by})
        if approve:
            outcome = await self._carry_out(held, caller)
            return {"id": held.id, "status": status, "outcome": outcome.as_json_object()}
        await self._tell(held, f"was rejected{f': {reason}' if reason else ''}.")
        return {"id": held.id, "status": status, "outcome": None}

    def unfinished(self) -> list[ApprovalId]:
        """Return what was approved and of which nobody knows what became."""
        return [held.id for held in rows.unfinished(self.context.database)]

    async def resume(self, left: Set[ApprovalId]) -> None:
        """Go on with what an earlier host left: what was approved and not begun is carried out, once."""
        for held in [one for one in rows.unfinished(self.context.database) if one.id in left]:
            if held.used_at is None:
                await self._carry_out(held, Caller())
                continue
            why = "the host ended while it was being done; look whether it was"
            await self._finish(held, Answer(id=held.id, ok=False, code=Code.HANDLER_ERROR, message=why))

    async def expire(self) -> None:
        """End what nobody answered in time."""
        for held in rows.expire(self.context.database, clock.now_text()):
            log.info("approval expired", extra={"approval": held.id, "step": held.name})
            await self._tell(held, "expired: nobody answered in time. Ask again if it is still wanted.")

    async def _carry_out(self, held: Held, caller: Caller) -> Answer:
        answer = await self.context.operations.execute_approved(held.id, caller.tell)
        await self._finish(held, answer)
        return answer

    async def _finish(self, held: Held, answer: Answer) -> None:
        line = answer.as_line().decode()
        rows.finish(self.context.database, held.id, line)
        frame = json.loads(line)
        if frame["ok"]:
            await self._tell(held, f"was approved and done: {json.dumps(frame['data'], ensure_ascii=False)}")
        else:
            await self._tell(held, f"was approved, but it failed: {frame['error']['message']}")

    async def _tell(self, held: Held, what: str) -> None:
        if held.session_id is None:
            return
        text = f"Your request `{held.name}` ({held.id}) {what}"
        try:
            await self.context.operations.note_to_agent(held.session_id, text[:TOLD_AT_MOST])
        except NanoclawError as error:
            log.warning("outcome not told", extra={"approval": held.id, "reason": str(error)})
