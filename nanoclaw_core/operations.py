"""What plugins may have a running host do: `Operations`, carried out by its machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from nanoclaw_wire.frames import Answer

from nanoclaw_core.descriptors.operations import Operations
from nanoclaw_core.descriptors.packages import BuildsImages
from nanoclaw_core.descriptors.runtimes import Mount
from nanoclaw_core.descriptors.votes import Access, Caller, StepKind
from nanoclaw_core.dispatch import fenced
from nanoclaw_core.errors import InvalidArguments, NotFound
from nanoclaw_core.guard import step_of
from nanoclaw_core.ids import ApprovalId, DeliveryId, GroupId, SessionId
from nanoclaw_core.instance import Places, create_agent_group
from nanoclaw_core.machine import Machine, Materials
from nanoclaw_core.sandboxes.mounts import check_mount
from nanoclaw_core.store import approvals, deliveries, sessions


@frozen
class MachineOperations(Operations):
    """The operations of one running host; what each does stands in the protocol."""

    machine: Machine

    @property
    def of(self) -> Materials:
        return self.machine.of

    def create_agent_group(self, name: str, folder: str) -> GroupId:
        places = Places(home=self.of.settings.home)
        return create_agent_group(self.of.db, places, name=name, folder=folder).id

    def check_mount(self, mount: Mapping[str, Any]) -> Mount:
        return check_mount(mount, self.of.settings.core.allowed_mounts)

    def image_builder(self) -> BuildsImages | None:
        return next((one for one in self.of.runtimes.values() if isinstance(one, BuildsImages)), None)

    def running(self, group_id: GroupId) -> Sequence[SessionId]:
        found = (sessions.get(self.of.db, session_id) for session_id in self.machine.supervisor.running)
        return sorted(session.id for session in found if session and session.agent_group_id == group_id)

    async def restart(self, session_id: SessionId, note: str | None) -> None:
        await self.machine.supervisor.restart(session_id, note)

    async def tell(self, session_id: SessionId, text: str) -> None:
        await self.machine.supervisor.tell(session_id, text)

    async def close_session(self, session_id: SessionId) -> None:
        supervisor, mailbox = self.machine.supervisor, self.machine.mailbox
        if self._active(session_id) is None:
            raise NotFound(f"there is no active session {session_id!r}")
        await supervisor.retire(session_id, "the session is closed")
        mailbox.mark(session_id)
        found = self._active(session_id)
        if found is not None and found.due_at is not None:  # from here on nothing may wait: who routes now comes after
            supervisor.wake(session_id, for_people=False)
            raise InvalidArguments(f"a message waits for an answer in {session_id}; close it after that")
        sessions.close(self.of.db, session_id)
        mailbox.release(session_id)

    async def carry_out(self, approval_id: ApprovalId) -> Answer:
        return await fenced(approval_id, self._redo(approval_id), approval_id)

    def send_again(self, delivery_id: DeliveryId) -> None:
        found = deliveries.get(self.of.db, delivery_id)
        self.machine.lanes.put([found] if found else [])

    def _active(self, session_id: SessionId) -> sessions.Session | None:
        found = sessions.get(self.of.db, session_id)
        return found if found is not None and found.status == "active" else None

    async def _redo(self, approval_id: ApprovalId) -> Any:
        asked = approvals.get(self.of.db, approval_id)
        if asked is None:
            raise NotFound(f"there is no approval {approval_id!r}")
        caller = Caller(session_id=asked.session_id, agent_group_id=asked.agent_group_id)
        arguments, kind = json.loads(asked.arguments), StepKind(asked.kind)
        handler = self.of.parts.approval_handlers.get(asked.name)
        if handler is None:
            redo = self.machine.dispatch.redo if kind is StepKind.VERB else self.machine.actions.run
            return await redo(asked.name, arguments, caller, asked.id)
        self.machine.guard.check(step_of(kind, asked.name, Access.HOLD, caller, arguments, asked.id))
        return await handler.item.run(arguments, caller, self.of.context_of(handler.plugin))
