"""What plugins may have a running host do beyond reading and writing rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from nanoclaw_wire.frames import Answer

from nanoclaw_core.descriptors.packages import BuildsImages
from nanoclaw_core.descriptors.runtimes import Mount
from nanoclaw_core.descriptors.votes import Access, Caller, StepKind
from nanoclaw_core.dispatch import fenced
from nanoclaw_core.errors import Forbidden, NotFound
from nanoclaw_core.guard import step_of
from nanoclaw_core.ids import ApprovalId, DeliveryId, GroupId, SessionId
from nanoclaw_core.instance import Places, create_agent_group
from nanoclaw_core.machine import Machine
from nanoclaw_core.sandboxes.mounts import mount_policy
from nanoclaw_core.store import approvals, deliveries, sessions


@frozen
class Operations:
    """What a verb, an action or a service finds as `context.operations` while the host runs."""

    machine: Machine

    def create_agent_group(self, name: str, folder: str) -> GroupId:
        """Make an agent group with its folder, instructions file and config row, or nothing (⚠16).

        Raises:
            InvalidArguments: The folder is no safe name, or taken.
        """
        places = Places(home=self.machine.of.settings.home)
        return create_agent_group(self.machine.of.db, places, name=name, folder=folder).id

    def check_mount(self, mount: Mapping[str, Any]) -> Mount:
        """Return a directory as a sandbox would get it, with its identity.

        Args:
            mount: `{path, name?, writable?, identity?}`.

        Raises:
            InvalidArguments: No sandbox may have it; the message says why.
        """
        return mount_policy(self.machine.of.db, self.machine.of.settings).check(mount)

    def image_builder(self) -> BuildsImages | None:
        """Return the runtime that makes images, or None."""
        return next((one for one in self.machine.of.runtimes.values() if isinstance(one, BuildsImages)), None)

    def installed(self) -> Mapping[str, Sequence[str]]:
        """Return the names that a config may choose from: of every `provider` and every `runtime`."""
        return {"provider": sorted(self.machine.of.parts.providers), "runtime": sorted(self.machine.of.runtimes)}

    def running(self, group_id: GroupId) -> Sequence[SessionId]:
        """Return the sessions of an agent group whose sandboxes run."""
        found = (sessions.get(self.machine.of.db, session_id) for session_id in self.machine.supervisor.running)
        return sorted(session.id for session in found if session and session.agent_group_id == group_id)

    async def restart(self, session_id: SessionId, note: str | None) -> None:
        """End a session's sandbox, and have a fresh one read a note, which the old one cannot take (I5).

        Args:
            note: None leaves it at the end: what is written next starts a fresh one.
        """
        await self.machine.supervisor.restart(session_id, note)

    async def tell(self, session_id: SessionId, text: str) -> None:
        """Leave a note for a session's agent and see that it reads it; nothing where the session is closed.

        Raises:
            NanoclawError: The note cannot be written.
        """
        await self.machine.supervisor.tell(session_id, text)

    async def close_session(self, session_id: SessionId, *, force: bool = False) -> None:
        """End a conversation; its next message starts a new one.

        Args:
            force: True closes it also where a message waits in it, which then gets no answer.

        Raises:
            NotFound: There is no such active session.
            Forbidden: A message waits for an answer in it; nothing was closed.
        """
        supervisor, mailbox = self.machine.supervisor, self.machine.mailbox
        if self._active(session_id) is None:
            raise NotFound(f"there is no active session {session_id!r}")
        await supervisor.retire(session_id, "the session is closed")
        mailbox.mark(session_id)
        found = self._active(session_id)  # from here on nothing may wait: who routes now comes after
        if found is not None and found.due_at is not None and not force:
            supervisor.wake(session_id, for_people=False)
            raise Forbidden(f"a message waits for an answer in {session_id}; close it after that, or with --force")
        sessions.close(self.machine.of.db, session_id)
        mailbox.release(session_id)

    async def carry_out(self, approval_id: ApprovalId, tell: Callable[[str], None] = lambda _line: None) -> Answer:
        """Do what was approved, as the agent that asked for it, and return what came of it; never raises.

        The guard is asked again, with the approval as its grant, which counts once (⚠13, ⚠14).

        Args:
            tell: Shows a line about the progress, where somebody watches.
        """
        return await fenced(approval_id, self._redo(approval_id, tell), approval_id)

    def look_at_delivery(self, delivery_id: DeliveryId) -> None:
        """Go by the row of a delivery once more, after it was put back to `queued` or marked as failed."""
        found = deliveries.get(self.machine.of.db, delivery_id)
        if found is not None:
            self.machine.lanes.look_again(found)

    def _active(self, session_id: SessionId) -> sessions.Session | None:
        found = sessions.get(self.machine.of.db, session_id)
        return found if found is not None and found.status == "active" else None

    async def _redo(self, approval_id: ApprovalId, tell: Callable[[str], None]) -> Any:
        asked = approvals.get(self.machine.of.db, approval_id)
        if asked is None:
            raise NotFound(f"there is no approval {approval_id!r}")
        caller = Caller(session_id=asked.session_id, agent_group_id=asked.agent_group_id, tell=tell)
        arguments, kind = json.loads(asked.arguments), StepKind(asked.kind)
        handler = self.machine.of.parts.approval_handlers.get(asked.name)
        if handler is None:
            redo = self.machine.dispatch.redo if kind is StepKind.VERB else self.machine.actions.run
            return await redo(asked.name, arguments, caller, asked.id)
        self.machine.guard.check(step_of(kind, asked.name, Access.HOLD, caller, arguments, asked.id))
        return await handler.item.run(arguments, caller, self.machine.of.context_of(handler.plugin))
