"""Delivery queues: one per room, in order.

The next message waits until the failed one before it is finished.

If no adapter of its channel runs, a message waits for a host that has one, and no attempt is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from functools import partial

from nanoclaw_wire.log_lines import describe
from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core import logs
from nanoclaw_core.delivery.attempts import Attempts
from nanoclaw_core.delivery.backlog import Backlog, Entry, QueueKey, Stage, queue_key
from nanoclaw_core.delivery.context import DeliveryContext
from nanoclaw_core.delivery.dates import seconds_to_own_date
from nanoclaw_core.delivery.delays import Delays
from nanoclaw_core.delivery.recording import Recording
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import DeliveryId
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus

log = logging.getLogger(__name__)
OnDrained = Callable[[], Awaitable[None]]


class DeliveryQueues:
    """The delivery queues of a host; `start` queues the unfinished messages of an earlier host.

    Attributes:
        backlog: The counts of unfinished messages.
    """

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._recording = Recording(context.outage, context.timing.store_retry_s)
        self.backlog = Backlog(context.adapters)
        self._delays = Delays(context.db, self._recording, context.events, context.timing.delay_notice_s)
        self._attempts = Attempts(context, self._recording, self.backlog, self._delays)
        self._tasks = TaskSet()
        self._waiting: dict[QueueKey, deque[Entry | OnDrained]] = {}
        self._workers: dict[QueueKey, asyncio.Task[None]] = {}
        self._dated: dict[DeliveryId, tuple[Entry, asyncio.Task[None]]] = {}
        self._absent: dict[DeliveryId, Entry] = {}  # their channel has no adapter in this host
        self._absent_channels: set[str] = set()
        self._is_closed = False

    def start(self) -> None:
        """Queue all unfinished messages, in order."""
        queued, owing = deliveries.open_deliveries(self._context.db), self._delays.read()
        for key in owing | {queue_key(delivery) for delivery in queued if delivery.last_error is not None}:
            self.backlog.stop(key)  # an earlier host could not send there, so its messages come late
        self.put(queued)
        for key in owing:
            self._append(key, _nothing)  # the notices follow once the queue is empty

    def put(self, queued: Iterable[Delivery]) -> None:
        """Enter stored messages into the backlog, and queue them."""
        self.append([self.backlog.enter(delivery) for delivery in queued])

    def append(self, entries: Iterable[Entry]) -> None:
        """Queue messages of the backlog; one with a later date enters its queue on that date."""
        for entry in entries:
            if entry.stage is Stage.DATED:
                self._dated[entry.delivery.id] = (entry, self._tasks.spawn(self._append_when_due(entry)))
            else:
                self._append(entry.queue_key, entry)

    def refresh(self, delivery: Delivery) -> None:
        """Apply the operator's change of a delivery: queue it again, or stop its wait if it was discarded."""
        if (absent := self._absent.pop(delivery.id, None)) is not None:
            self.backlog.leave(absent)
        if (dated := self._dated.pop(delivery.id, None)) is not None:
            dated[1].cancel()
            self.backlog.leave(dated[0])
        if not self._attempts.resume(delivery) and delivery.status is DeliveryStatus.QUEUED:
            self.put([delivery])

    def call_when_drained(self, address: Address, act: OnDrained) -> None:
        """Call a function once everything queued for a room is finished.

        The function must not raise or hang. A restart of the host drops the call.
        """
        self._append((address.channel, address.room), act)

    async def drained(self) -> None:
        """Wait until every queue is empty."""
        while self._workers:
            await asyncio.wait(list(self._workers.values()))

    async def drain_for(self) -> None:
        """Wait for queued messages for a limited time; the next host sends the rest."""
        self._recording.stop_waiting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._context.timing.drain_s):
                await self.drained()

    async def close(self) -> None:
        """Stop sending. The next host repeats a cancelled attempt under the same key."""
        self._is_closed = True  # an adapter that swallows its cancellation must not start the next message
        await self._tasks.close(self._context.timing.cancel_s)
        self._workers.clear()

    def _append(self, key: QueueKey, item: Entry | OnDrained) -> None:
        if isinstance(item, Entry):
            item.queued_at = asyncio.get_running_loop().time()
        self._waiting.setdefault(key, deque()).append(item)
        if key not in self._workers and not self._is_closed:
            self._workers[key] = self._tasks.spawn(self._work(key), context=Context())

    async def _append_when_due(self, entry: Entry) -> None:
        await asyncio.sleep(seconds_to_own_date(entry.delivery))
        del self._dated[entry.delivery.id]
        self.backlog.fall_due(entry)
        self._append(entry.queue_key, entry)

    async def _work(self, key: QueueKey) -> None:
        waiting = self._waiting[key]
        try:
            while waiting and not self._is_closed:
                item = waiting.popleft()
                if isinstance(item, Entry):
                    await self._deliver(item)
                else:
                    await item()
                if not waiting and key in self._delays.owing:
                    await self._send_delay_notices(key)
                await asyncio.sleep(0)  # let the other queues run even if an adapter never waits
        finally:
            self._workers.pop(key, None)  # `close` may have removed it
            if not waiting:
                self._waiting.pop(key, None)
                self.backlog.resume(key)

    async def _deliver(self, entry: Entry) -> None:
        """Finish one message, or leave it to a host that has its channel."""
        delivery = entry.delivery
        with logs.context(session=delivery.session_id or "", correlation=delivery.correlation_id or delivery.id):
            try:
                if delivery.channel not in self._context.adapters:
                    await self._keep_for_later(entry)
                    return
                await self._attempts.finish(entry)
            except PLUGIN_ERRORS as error:  # error boundary: one bad row must not stop its room
                log.error("delivery cannot be processed", extra=describe(error) | {"delivery": delivery.id})
                await self._give_up(delivery, f"the host cannot process it: {type(error).__name__}: {error}")
        self.backlog.leave(entry)

    async def _give_up(self, delivery: Delivery, problem: str) -> None:
        try:
            await self._attempts.fail(delivery, problem)
        except PLUGIN_ERRORS as error:  # error boundary: the row stays unchanged for the next host
            log.error("delivery cannot be marked as failed", extra=describe(error) | {"delivery": delivery.id})

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
            self.backlog.leave(entry)

    async def _send_delay_notices(self, key: QueueKey) -> None:
        try:
            if key[0] in self._context.adapters:  # without an adapter the messages still wait
                await self._delays.queue_notices(key)
        except PLUGIN_ERRORS:  # error boundary: the marks stay, and the next host sends the notices
            log.exception("delay notices cannot be queued", extra={"channel": key[0], "room": key[1]})


async def _nothing() -> None:
    return
