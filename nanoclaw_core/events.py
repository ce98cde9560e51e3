"""Events between components of a host that cannot hold each other, because one is built before the other."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import Protocol

from nanoclaw_wire.content import ActionRequest

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.ids import SessionId
from nanoclaw_core.store.deliveries import Delivery


class HostEvents(Protocol):
    """Receives the events. The host's `Components` implements it."""

    async def message_refused(self, session_id: SessionId, reason: str) -> None:
        """Inform the agent that a message it wrote was not sent."""

    async def budget_exceeded(self, session_id: SessionId, reason: str) -> None:
        """Inform the agent and its people that more rows of the session are refused."""

    async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None:
        """Run an action for a session's agent, and answer it."""

    def runner_idle(self, session_id: SessionId, finished: Set[str]) -> None:
        """Handle a runner without an open turn whose messages are all queued.

        Args:
            session_id: The session.
            finished: The ids of the messages that it has finished since the last copied acknowledgement.
        """

    def session_unreadable(self, session_id: SessionId, reason: str) -> None:
        """Start to look for damage in a session's files."""

    async def diagnose(self, session_id: SessionId, force_reason: str) -> bool:
        """Look for damage, and start the quarantine of a damaged session; return True if it is damaged.

        Args:
            force_reason: Reason to quarantine the session although its files look whole; empty if there is none.
        """

    async def delivery_failed(self, delivery: Delivery, reason: str) -> None:
        """Inform the agent that a message failed for good, before the next one is sent."""

    def delivery_delayed(self, address: Address, since: datetime, dedup_key: str) -> None:
        """Queue the notice for a thread whose messages came late."""
