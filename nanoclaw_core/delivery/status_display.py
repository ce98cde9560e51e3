"""Status display: shows people in a chat the state of their sandbox.

A status is only a hint: it gets a limited time, and its errors affect nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.descriptors.channels import ChannelAdapter, ShowsStatus
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.mailbox.outbox import UNREADABLE
from nanoclaw_core.timing import Timing

log = logging.getLogger(__name__)


class StatusDisplay:
    """Shows the states of all sandboxes, each in the chat of its session."""

    def __init__(
        self,
        adapters: Mapping[str, ChannelAdapter],
        inbox: InboxWriter,
        queues: DeliveryQueues,
        typing: TypingIndicator,
        timing: Timing,
    ) -> None:
        self._adapters = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, ShowsStatus)}
        self._inbox, self._queues, self._typing, self._timing = inbox, queues, typing, timing
        self._tasks = TaskSet()

    def show(self, session_id: SessionId, text: str) -> None:
        """Show people the state of their sandbox; return at once."""
        if (target := self._target(session_id)) is not None:
            self._tasks.spawn(self._show(*target, text))

    def clear(self, session_id: SessionId) -> None:
        """Show that the agent does not work now, once the queued messages are sent."""
        target = self._target(session_id)
        self._typing.stop(session_id)
        if target is not None:
            self._queues.call_when_drained(target[1], partial(self._show, *target, ""))

    async def close(self) -> None:
        """Drop the statuses that are not shown yet."""
        await self._tasks.close(self._timing.cancel_s)

    def _target(self, session_id: SessionId) -> tuple[ShowsStatus, Address] | None:
        """Return the adapter and the address of a session's chat; None if it shows no status."""
        if not self._adapters:
            return None
        try:
            routing = self._inbox.routing(session_id)
        except UNREADABLE:
            return None
        adapter = self._adapters.get(routing.channel or "")
        if adapter is None or not routing.channel or not routing.room:
            return None
        return adapter, Address(routing.channel, routing.room, routing.thread)

    async def _show(self, adapter: ShowsStatus, address: Address, text: str) -> None:
        try:
            async with asyncio.timeout(self._timing.status_timeout_s):
                await adapter.show_status(address, text)
        except PLUGIN_ERRORS:  # error boundary: only a hint to people, nothing depends on it
            log.debug("status not shown", exc_info=True)
