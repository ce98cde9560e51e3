"""Parts of a host that a test of the delivery queues does not need."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import Any

import apsw
from nanoclaw_untrusted.database_outage import DatabaseOutage
from nanoclaw_wire.content import ActionRequest, Message

from nanoclaw_core import Address, Outbound, SessionId
from nanoclaw_core.delivery.context import DeliveryContext
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.events import HostEvents
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.outbox import OutboxReader
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store.deliveries import Delivery
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.timing import Timing


class KeyBuilder:
    """Builds messages that have an idempotency key alone."""

    def build(self, delivery: Delivery, _message: Message | None) -> Outbound:
        return Outbound(idempotency_key=delivery.id)


class RepairedDatabase(DatabaseOutage):
    """A central database that accepts writes again after a number of refused ones."""

    def __init__(self, db: apsw.Connection, *, after: int) -> None:
        super().__init__(now=lambda: 0.0)
        self._db, self._after = db, after

    def note_refusal(self, work: str, error: BaseException, *, again_in_s: float) -> None:
        super().note_refusal(work, error, again_in_s=again_in_s)
        if self.refused % self._after == 0:
            self._db.pragma("query_only", 0)


def context_of(instance: Instance, adapters: dict[str, Any], **more: Any) -> DeliveryContext:
    """Return a context with retries at once; `more` replaces its values."""
    outbox = OutboxReader(open_root(instance.paths.home), file_bytes=0)
    given: dict[str, Any] = {
        "db": instance.db,
        "plugins": Plugins(),
        "adapters": adapters,
        "builder": KeyBuilder(),
        "typing": TypingIndicator(adapters, outbox, Timing()),
        "events": QuietEvents(),
        "pauses_s": (0.0,),
        "max_age_s": 0.0,
        "outage": DatabaseOutage(),
        "timing": Timing(store_retry_s=0.0),
    }
    return DeliveryContext(**(given | more))


class QuietEvents(HostEvents):
    """Ignores each event but a failed delivery, which fails the test."""

    async def message_refused(self, session_id: SessionId, reason: str) -> None: ...

    async def budget_exceeded(self, session_id: SessionId, reason: str) -> None: ...

    async def action_requested(self, session_id: SessionId, request: ActionRequest) -> None: ...

    def runner_idle(self, session_id: SessionId, finished: Set[str]) -> None: ...

    def session_unreadable(self, session_id: SessionId, reason: str) -> None: ...

    async def diagnose(self, session_id: SessionId, force_reason: str) -> bool:
        return False

    async def delivery_failed(self, delivery: Delivery, reason: str) -> None:
        raise AssertionError(reason)

    def delivery_delayed(self, address: Address, since: datetime, dedup_key: str) -> None: ...


def adapters_of(platform: Any, *channels: str) -> dict[str, Any]:
    """Return one adapter for all channels of a host.

    An empty dict if `platform` is None.
    """
    return dict.fromkeys(channels or ("chat", "recorder"), platform) if platform is not None else {}
