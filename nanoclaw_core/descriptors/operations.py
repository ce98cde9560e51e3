"""Operations of a running host for plugins, beyond reading and writing rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from nanoclaw_wire.frames import Answer

from nanoclaw_core.descriptors.packages import BuildsImages
from nanoclaw_core.descriptors.sandboxes import Mount
from nanoclaw_core.ids import ApprovalId, DeliveryId, GroupId, SessionId


class Operations(Protocol):
    """Operations of a running host: `context.operations` of a verb, an action or a service."""

    def create_agent_group(self, name: str, folder: str) -> GroupId:
        """Create an agent group with its folder, instructions file and config row.

        An error leaves none of them (⚠16).

        Raises:
            InvalidArguments: The folder name is unsafe or belongs to another group.
        """

    def check_mount(self, mount: Mapping[str, Any]) -> Mount:
        """Check a mount, and return it with the identity of its directory.

        Args:
            mount: `{path, name?, writable?, identity?}`.

        Raises:
            InvalidArguments: No sandbox may have the mount; the error has the reason.
        """

    def image_builder(self) -> BuildsImages | None:
        """Return the runtime that builds images, or None."""

    def installed(self) -> Mapping[str, Sequence[str]]:
        """Return the names that a config may choose from, under the keys `provider` and `runtime`."""

    def running(self, group_id: GroupId) -> Sequence[SessionId]:
        """Return the sessions of an agent group with a running sandbox."""

    async def restart(self, session_id: SessionId, note: str | None) -> None:
        """Stop a session's sandbox and start a new one, which alone can read the note (I5).

        If the note is None, no new sandbox starts; the next message does that.
        """

    async def note_to_agent(self, session_id: SessionId, text: str) -> None:
        """Leave a note for a session's agent and wake it.

        Do nothing if the session is closed. The agent reads the note as the host's own words. If it repeats words of
        people, it must name them as such.

        Raises:
            NanoclawError: The note cannot be written.
        """

    async def close_session(self, session_id: SessionId, *, force: bool = False) -> None:
        """Close a session; the next message of its conversation starts a new one.

        With `force` it is closed even if a message waits in it; the message then gets no answer.

        Raises:
            NotFound: No active session has this id.
            Forbidden: A message waits for an answer in it, so it was not closed.
        """

    async def discard_session_files(self, session_id: SessionId) -> asyncio.Task[bool]:
        """Move all files of a closed session aside, also its quarantined ones, and start to remove them.

        Returns:
            The removal, in a thread: True once all files are gone, False if some cannot be removed or the host stops.
            The sweep and the next host continue it.

        Raises:
            OSError: Some files are still there.
        """

    async def execute_approved(self, approval_id: ApprovalId, progress: Callable[[str], None] | None = None) -> Answer:
        """Execute an approved request as the agent that asked for it, and return its answer; never raise.

        The guard checks the request again, with the approval as a grant for one use (⚠13, ⚠14). `progress` is called
        with each progress line.
        """

    def preview(self, approval_id: ApprovalId) -> Any:
        """Return what a held request would change now, or `{"fails": reason}`; see `Verb.preview`.

        It is for the human who decides: it may show directories of the host, and values that an agent must not see.

        Raises:
            NotFound: No approval has this id.
        """

    def refresh_delivery(self, delivery_id: DeliveryId) -> None:
        """Read a delivery's row again after its status was changed to `queued` or `failed`."""
