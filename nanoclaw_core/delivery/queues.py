"""Delivery queues: one per room, in order.

The next message waits until the failed one before it is finished.

If no adapter of its channel runs, a message waits for a host that has one, and no attempt is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from functools import partial

from nanoclaw_core.delivery.attempts import Attempts, DeliveryContext
from nanoclaw_core.delivery.backlog import Backlog, CountKey, Entry, QueueKey, Stage, queue_key
from nanoclaw_core.delivery.dates import seconds_to_own_date
from nanoclaw_core.delivery.delays import Delays
from nanoclaw_core.delivery.recording import Recording
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus

log = logging.getLogger(__name__)
DRAIN_TIMEOUT_S = 2.0
CLOSE_S = 1.0  # all of a stop has 10 s
OnDrained = Callable[[], Awaitable[None]]


class DeliveryQueues:
    """The delivery queues of a host; `start` queues the unfinished messages of an earlier host."""

    def __init__(self, sending: DeliveryContext) -> None:
        self._context = sending
        self._recording = Recording(sending.outage, sending.sleep)
        self._backlog = Backlog(sending.adapters)
        self._delays = Delays(sending.db, self._recording, sending.events)
        self._attempts = Attempts(sending, self._recording, self._backlog, self._delays)
        self._waiting: dict[QueueKey, deque[Entry | OnDrained]] = {}
        self._workers: dict[QueueKey, asyncio.Task[None]] = {}
        self._dated: dict[DeliveryId, tuple[Entry, asyncio.Task[None]]] = {}
        self._absent: dict[DeliveryId, Entry] = {}  # their channel has no adapter in this host
        self._absent_channels: set[str] = set()

    def start(self) -> None:
        """Queue all unfinished messages, in order."""
        queued, owing = deliveries.open_deliveries(self._context.db), self._delays.read()
        for key in owing | {queue_key(delivery) for delivery in queued if delivery.last_error is not None}:
            self._backlog.stop(key)  # an earlier host could not send there, so its messages come late
        self.put(queued)
        for key in owing:
            self._append(key, _nothing)  # the notices follow once the queue is empty

    def put(self, queued: Iterable[Delivery]) -> None:
        """Queue stored messages; one with a later date enters its queue on that date."""
        for delivery in queued:
            entry = self._backlog.enter(delivery)
            if entry.stage is Stage.DATED:
                self._dated[delivery.id] = (entry, asyncio.create_task(self._put_when_due(entry)))
            else:
                self._append(entry.queue_key, entry)

    def refresh(self, delivery: Delivery) -> None:
        """Apply the operator's change of a delivery: queue it again, or stop its wait if it was discarded."""
        if (absent := self._absent.pop(delivery.id, None)) is not None:
            self._backlog.leave(absent)
        if (dated := self._dated.pop(delivery.id, None)) is not None:
            dated[1].cancel()
            self._backlog.leave(dated[0])
        if not self._attempts.resume(delivery) and delivery.status is DeliveryStatus.QUEUED:
            self.put([delivery])

    def backlog(self, session_id: SessionId) -> int:
        """Return the number of unfinished messages of a session."""
        return self._backlog.unfinished(session_id)

    def moving(self, session_id: SessionId) -> int:
        """Return the number of messages of a session on their way to working rooms."""
        return self._backlog.moving(session_id)

    def refusal(self, delivery: Delivery, accepted: Counter[CountKey]) -> str | None:
        """Return why a new message cannot wait, or None; see `Backlog.refusal`."""
        return self._backlog.refusal(delivery, accepted)

    def call_when_drained(self, address: Address, act: OnDrained) -> None:
        """Call a function once everything queued for a room is finished.

        A restart of the host drops the call.
        """
        self._append((address.channel, address.room), act)

    async def drained(self) -> None:
        """Wait until every queue is empty."""
        while self._workers:
            await asyncio.wait(list(self._workers.values()))

    async def drain_for(self) -> None:
        """Wait up to `DRAIN_TIMEOUT_S` for queued messages; the next host sends the rest."""
        self._recording.stop_waiting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self.drained()

    async def close(self) -> None:
        """Stop sending. The next host repeats a cancelled attempt under the same key."""
        tasks = [*self._workers.values(), *(task for _, task in self._dated.values())]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)  # an adapter that swallows its cancellation stops no host
        self._workers.clear()

    def _append(self, key: QueueKey, item: Entry | OnDrained) -> None:
        if isinstance(item, Entry):
            item.queued_at = asyncio.get_running_loop().time()
        self._waiting.setdefault(key, deque()).append(item)
        if key not in self._workers:
            self._workers[key] = asyncio.create_task(self._work(key), context=Context())

    async def _put_when_due(self, entry: Entry) -> None:
        await self._context.sleep(seconds_to_own_date(entry.delivery))
        del self._dated[entry.delivery.id]
        self._backlog.fall_due(entry)
        self._append(entry.queue_key, entry)

    async def _work(self, key: QueueKey) -> None:
        waiting = self._waiting[key]
        try:
            while waiting:
                item = waiting.popleft()
                if isinstance(item, Entry):
                    await self._deliver(item)
                else:
                    with contextlib.suppress(*PLUGIN_ERRORS):  # only a hint to people; nothing depends on it
                        await asyncio.wait_for(item(), self._context.hint_timeout_s)
                if not waiting:
                    await self._send_delay_notices(key)
                await asyncio.sleep(0)  # let the other queues run even if an adapter never waits
        finally:
            del self._workers[key]
            if not waiting:
                self._waiting.pop(key, None)
                self._backlog.resume(key)

    async def _deliver(self, entry: Entry) -> None:
        """Finish one message, or leave it to a host that has its channel."""
        delivery = entry.delivery
        try:
            if delivery.channel not in self._context.adapters:
                await self._keep_for_later(entry)
                return
            await self._attempts.finish(entry)
        except PLUGIN_ERRORS as error:  # error boundary: one bad row must not stop its room
            log.exception("delivery cannot be processed", extra={"delivery": delivery.id})
            await self._give_up(delivery, f"the host cannot process it: {type(error).__name__}: {error}")
        self._backlog.leave(entry)

    async def _give_up(self, delivery: Delivery, problem: str) -> None:
        try:
            await self._attempts.fail(delivery, problem)
        except PLUGIN_ERRORS:  # error boundary: the row stays unchanged for the next host
            log.exception("delivery cannot be marked as failed", extra={"delivery": delivery.id})

    async def _keep_for_later(self, entry: Entry) -> None:
        """Leave a message queued for a host that has its channel."""
        delivery = entry.delivery
        reason = f"the channel {delivery.channel!r} is not running"
        if delivery.channel not in self._absent_channels:
            self._absent_channels.add(delivery.channel)
            log.error("messages wait for a channel that is not running", extra={"channel": delivery.channel})
        is_open = await self._recording.write(partial(deliveries.mark_absent, self._context.db, delivery.id, reason))
        if is_open and delivery.id not in self._absent:
            self._absent[delivery.id] = entry
        else:  # discarded meanwhile, or queued twice after it was discarded and retried
            self._backlog.leave(entry)

    async def _send_delay_notices(self, key: QueueKey) -> None:
        try:
            if key[0] in self._context.adapters:  # without an adapter the messages still wait
                await self._delays.queue_notices(key)
        except PLUGIN_ERRORS:  # error boundary: the marks stay, and the next host sends the notices
            log.exception("delay notices cannot be queued", extra={"channel": key[0], "room": key[1]})


async def _nothing() -> None:
    return
