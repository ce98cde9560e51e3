"""What plugins may have a running host do beyond reading and writing rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nanoclaw_wire.frames import Answer

from nanoclaw_core.descriptors.packages import BuildsImages
from nanoclaw_core.descriptors.runtimes import Mount
from nanoclaw_core.ids import ApprovalId, DeliveryId, GroupId, SessionId


class Operations(Protocol):
    """What a verb, an action or a service finds as `context.operations` while the host runs."""

    def create_agent_group(self, name: str, folder: str) -> GroupId:
        """Make an agent group with its folder, instructions file and config row, or nothing (⚠16).

        Raises:
            InvalidArguments: The folder is no safe name, or taken.
        """

    def check_mount(self, mount: Mapping[str, Any]) -> Mount:
        """Return a directory as a sandbox would get it.

        Args:
            mount: `{path, name?, writable?}`.

        Raises:
            InvalidArguments: No sandbox may have it; the message says why.
        """

    def image_builder(self) -> BuildsImages | None:
        """Return the runtime that makes images, or None."""

    def running(self, group_id: GroupId) -> Sequence[SessionId]:
        """Return the sessions of an agent group whose sandboxes run."""

    async def restart(self, session_id: SessionId, note: str | None) -> None:
        """End a session's sandbox, and have a fresh one read a note, which the old one cannot take (I5).

        Args:
            note: None leaves it at the end: what is written next starts a fresh one.
        """

    async def tell(self, session_id: SessionId, text: str) -> None:
        """Leave a note for a session's agent and see that it reads it; nothing where the session is closed.

        Raises:
            NanoclawError: The note cannot be written.
        """

    async def close_session(self, session_id: SessionId) -> None:
        """End a conversation; its next message starts a new one.

        Raises:
            NotFound: There is no such active session.
            InvalidArguments: A message waits for an answer in it; nothing was closed.
        """

    async def carry_out(self, approval_id: ApprovalId) -> Answer:
        """Do what was approved, as the agent that asked for it, and return what came of it; never raises.

        The guard is asked again, with the approval as its grant, which counts once (⚠13, ⚠14).
        """

    def send_again(self, delivery_id: DeliveryId) -> None:
        """Take up a delivery that was put back to `queued`."""
