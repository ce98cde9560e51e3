"""Parts of a host that a test of the delivery queues does not need."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nanoclaw_wire.content import ActionRequest

from nanoclaw_core import Address, Outbound, SessionId
from nanoclaw_core.events import HostEvents
from nanoclaw_core.store.deliveries import Delivery


class KeyBuilder:
    """Builds messages that have an idempotency key alone."""

    def build(self, delivery: Delivery) -> Outbound:
        return Outbound(idempotency_key=delivery.id)


class QuietEvents(HostEvents):
    """Ignores each event but a failed delivery, which fails the test."""

    async def message_refused(self, session_id: SessionId, reason: str) -> None: ...

    async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None: ...

    def runner_idle(self, session_id: SessionId) -> None: ...

    def session_unreadable(self, session_id: SessionId, reason: str) -> None: ...

    async def diagnose(self, session_id: SessionId, force_reason: str) -> bool:
        return False

    def delivery_sent(self, delivery: Delivery) -> None: ...

    async def delivery_failed(self, delivery: Delivery, reason: str) -> None:
        raise AssertionError(reason)

    def delivery_delayed(self, address: Address, since: datetime, dedup_key: str) -> None: ...

    def sandbox_status(self, session_id: SessionId, text: str) -> None: ...

    def sandbox_ended(self, session_id: SessionId) -> None: ...


def adapters_of(platform: Any, *channels: str) -> dict[str, Any]:
    """Return one adapter for all channels of a host; an empty dict if `platform` is None."""
    return dict.fromkeys(channels or ("chat", "recorder"), platform) if platform is not None else {}
