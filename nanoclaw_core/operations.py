"""The operations of a running host, as plugins ask for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen
from nanoclaw_wire.frames import Answer

from nanoclaw_core.components import Components
from nanoclaw_core.descriptors.operations import Operations
from nanoclaw_core.descriptors.packages import BuildsImages
from nanoclaw_core.descriptors.sandboxes import Mount
from nanoclaw_core.descriptors.votes import Access, Caller, RequestKind
from nanoclaw_core.dispatch import answer_errors
from nanoclaw_core.errors import PLUGIN_ERRORS, Forbidden, NotFound
from nanoclaw_core.guard import permission_request
from nanoclaw_core.ids import ApprovalId, DeliveryId, GroupId, SessionId
from nanoclaw_core.instance import InstancePaths, create_agent_group
from nanoclaw_core.sandboxes.mounts import mount_policy
from nanoclaw_core.store import approvals, deliveries, sessions
from nanoclaw_core.store.approvals import Approval


@frozen
class HostOperations(Operations):
    """Implements the operations with the components of one host."""

    components: Components

    def create_agent_group(self, name: str, folder: str) -> GroupId:
        paths = InstancePaths(home=self.components.settings.home)
        return create_agent_group(self.components.db, paths, name=name, folder=folder).id

    def check_mount(self, mount: Mapping[str, Any]) -> Mount:
        return mount_policy(self.components.db, self.components.settings).check(mount)

    def image_builder(self) -> BuildsImages | None:
        return next(
            (runtime for runtime in self.components.runtimes.values() if isinstance(runtime, BuildsImages)), None
        )

    def installed(self) -> Mapping[str, Sequence[str]]:
        return {
            "provider": sorted(self.components.contributions.providers),
            "runtime": sorted(self.components.runtimes),
        }

    def running(self, group_id: GroupId) -> Sequence[SessionId]:
        running = (sessions.get(self.components.db, session_id) for session_id in self.components.supervisor.running)
        return sorted(session.id for session in running if session and session.agent_group_id == group_id)

    async def restart(self, session_id: SessionId, note: str | None) -> None:
        await self.components.supervisor.restart(session_id, note)

    async def note_to_agent(self, session_id: SessionId, text: str) -> None:
        await self.components.supervisor.note_to_agent(session_id, text)

    async def close_session(self, session_id: SessionId, *, force: bool = False) -> None:
        supervisor, mailbox = self.components.supervisor, self.components.mailbox
        if sessions.get_active(self.components.db, session_id) is None:
            raise NotFound(f"there is no active session {session_id!r}")
        await supervisor.stop_session(session_id, "the session is closed")
        mailbox.update_due(session_id)
        # A message that is routed from here on belongs to the next session.
        session = sessions.get_active(self.components.db, session_id)
        if session is not None and session.due_at is not None and not force:
            supervisor.wake(session_id, for_people=False)
            raise Forbidden(f"a message waits for an answer in {session_id}; close it after that, or with --force")
        sessions.close(self.components.db, session_id)
        mailbox.release(session_id)

    async def discard_session_files(self, session_id: SessionId) -> asyncio.Task[bool]:
        directories = self.components.mailbox.directories
        await asyncio.to_thread(directories.discard, session_id)
        return directories.trash.empty()

    async def execute_approved(self, approval_id: ApprovalId, progress: Callable[[str], None] | None = None) -> Answer:
        return await answer_errors(approval_id, self._execute_approved(approval_id, progress), approval_id)

    def preview(self, approval_id: ApprovalId) -> Any:
        asked, caller, arguments = self._held(approval_id)
        try:
            if asked.kind == RequestKind.VERB.value:
                preview = self.components.dispatch.preview(asked.name, arguments, caller)
            else:
                action = self.components.actions.actions[asked.name]
                preview = action.value.preview(arguments, caller, self.components.plugin_context(action.plugin))
            return json.loads(json.dumps(preview, allow_nan=False))
        except PLUGIN_ERRORS as error:  # error boundary: the human must still see the request
            return {"fails": str(error) or type(error).__name__}

    def refresh_delivery(self, delivery_id: DeliveryId) -> None:
        delivery = deliveries.get(self.components.db, delivery_id)
        if delivery is not None:
            self.components.queues.refresh(delivery)

    async def _execute_approved(self, approval_id: ApprovalId, progress: Callable[[str], None] | None) -> Any:
        asked, caller, arguments = self._held(approval_id)
        caller = caller if progress is None else evolve(caller, progress=progress)
        kind = RequestKind(asked.kind)
        handler = self.components.contributions.approval_handlers.get(asked.name)
        if handler is None:
            execute = (
                self.components.dispatch.execute_approved if kind is RequestKind.VERB else self.components.actions.run
            )
            return await execute(asked.name, arguments, caller, asked.id)
        self.components.guard.check(
            permission_request(kind, asked.name, Access.NEEDS_APPROVAL, caller, arguments, asked.id)
        )
        return await handler.value.run(arguments, caller, self.components.plugin_context(handler.plugin))

    def _held(self, approval_id: ApprovalId) -> tuple[Approval, Caller, Any]:
        held = approvals.get(self.components.db, approval_id)
        if held is None:
            raise NotFound(f"there is no approval {approval_id!r}")
        return held, Caller(session_id=held.session_id, agent_group_id=held.agent_group_id), json.loads(held.arguments)
