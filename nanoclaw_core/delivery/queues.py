"""DeliveryContext: one lane per destination, in order; a message that fails is never overtaken by the one behind it.

Without its channel's adapter a message waits for a host that has it, and no attempt is counted.
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
from nanoclaw_core.delivery.backlog import Backlog, CountKey, Entry, LaneKey, Stage, lane_of
from nanoclaw_core.delivery.dates import seconds_to_own_date
from nanoclaw_core.delivery.delays import Delays
from nanoclaw_core.delivery.recording import Recording
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus

log = logging.getLogger(__name__)
SETTLE_S = 2.0
HINT_TIMEOUT_S = 10.0
AfterAll = Callable[[], Awaitable[None]]


class DeliveryQueues:
    """All destinations of a host. `start` takes up what an earlier host left."""

    def __init__(self, sending: DeliveryContext) -> None:
        self._context = sending
        self._recording = Recording(sending.outage, sending.sleep)
        self._backlog = Backlog(lambda channel: sending.adapter(channel) is None)
        self._delays = Delays(sending.db, self._recording, sending.delayed)
        self._attempts = Attempts(sending, self._recording, self._backlog, self._delays)
        self._waiting: dict[LaneKey, deque[Entry | AfterAll]] = {}
        self._workers: dict[LaneKey, asyncio.Task[None]] = {}
        self._dated: dict[DeliveryId, tuple[Entry, asyncio.Task[None]]] = {}
        self._absent: dict[DeliveryId, Entry] = {}  # their channel has no adapter in this host
        self._absent_channels: set[str] = set()

    def start(self) -> None:
        """Queue everything that is not finished, in order."""
        queued, owing = deliveries.open_deliveries(self._context.db), self._delays.read()
        for lane in owing | {lane_of(one) for one in queued if one.last_error is not None}:
            self._backlog.stop(lane)  # an earlier host could not send: what is queued there comes late
        self.put(queued)
        for lane in owing:
            self._append(lane, _nothing)  # its notices follow when the lane is empty

    def put(self, queued: Iterable[Delivery]) -> None:
        """Queue stored messages behind what their destinations have; one with a later date waits for it aside."""
        for delivery in queued:
            entry = self._backlog.enter(delivery)
            if entry.stage is Stage.DATED:
                self._dated[delivery.id] = (entry, asyncio.create_task(self._put_when_due(entry)))
            else:
                self._append(entry.lane, entry)

    def look_again(self, delivery: Delivery) -> None:
        """Take up what was changed about a delivery: it is queued again, or waits no more and was given up."""
        if (absent := self._absent.pop(delivery.id, None)) is not None:
            self._backlog.leave(absent)
        if (dated := self._dated.pop(delivery.id, None)) is not None:
            dated[1].cancel()
            self._backlog.leave(dated[0])
        if not self._attempts.resume(delivery) and delivery.status is DeliveryStatus.QUEUED:
            self.put([delivery])

    def backlog(self, session_id: SessionId) -> int:
        """Return how many messages of a session are not finished."""
        return self._backlog.unfinished(session_id)

    def moving(self, session_id: SessionId) -> int:
        """Return how many messages of a session are on their way to rooms that work."""
        return self._backlog.moving(session_id)

    def refusal(self, delivery: Delivery, accepted: Counter[CountKey]) -> str | None:
        """Return the reason why a new message cannot wait for its room or date, or None; see `Backlog.refusal`."""
        return self._backlog.refusal(delivery, accepted)

    def after(self, address: Address, act: AfterAll) -> None:
        """Do something when everything queued for a destination is finished. Not kept over a restart."""
        self._append((address.channel, address.room), act)

    async def drained(self) -> None:
        """Wait until every lane is empty; for tests and for a stop in order."""
        while self._workers:
            await asyncio.wait(list(self._workers.values()))

    async def drain_for(self) -> None:
        """Give what is queued a moment to go out; what does not is sent by the next host."""
        self._recording.stop_waiting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self.drained()

    async def close(self) -> None:
        """Stop sending. What is under way is cut off and tried again by the next host under the same key."""
        tasks = [*self._workers.values(), *(task for _, task in self._dated.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._workers.clear()

    def _append(self, lane: LaneKey, item: Entry | AfterAll) -> None:
        self._waiting.setdefault(lane, deque()).append(item)
        if lane not in self._workers:
            self._workers[lane] = asyncio.create_task(self._work(lane), context=Context())

    async def _put_when_due(self, entry: Entry) -> None:
        await self._context.sleep(seconds_to_own_date(entry.delivery))
        del self._dated[entry.delivery.id]
        self._backlog.fall_due(entry)
        self._append(entry.lane, entry)

    async def _work(self, lane: LaneKey) -> None:
        waiting = self._waiting[lane]
        try:
            while waiting:
                item = waiting.popleft()
                if isinstance(item, Entry):
                    await self._work_off(item)
                else:
                    with contextlib.suppress(*PLUGIN_ERRORS):  # a hint to people; nothing depends on it
                        await asyncio.wait_for(item(), HINT_TIMEOUT_S)
                if not waiting:
                    await self._tell_delays(lane)
                await asyncio.sleep(0)  # each lane in turn, also where an adapter never waits
        finally:
            del self._workers[lane]
            if not waiting:
                self._waiting.pop(lane, None)
                self._backlog.resume(lane)

    async def _work_off(self, entry: Entry) -> None:
        """Finish one message, or leave it for a host that has its channel."""
        delivery = entry.delivery
        try:
            if self._context.adapter(delivery.channel) is None:
                await self._leave(entry)
                return
            await self._attempts.finish(entry)
        except PLUGIN_ERRORS as error:  # the error boundary: one bad row must not stop its room
            log.exception("delivery cannot be processed", extra={"delivery": delivery.id})
            await self._give_up(delivery, f"the host cannot process it: {type(error).__name__}: {error}")
        self._backlog.leave(entry)

    async def _give_up(self, delivery: Delivery, problem: str) -> None:
        try:
            await self._attempts.fail(delivery, problem)
        except PLUGIN_ERRORS:  # the error boundary: the row stays as it is for the next host
            log.exception("delivery cannot be given up", extra={"delivery": delivery.id})

    async def _leave(self, entry: Entry) -> None:
        """Leave a message queued for a host that has its channel."""
        delivery = entry.delivery
        reason = f"the channel {delivery.channel!r} is not running"
        if delivery.channel not in self._absent_channels:
            self._absent_channels.add(delivery.channel)
            log.error("messages wait for a channel that is not running", extra={"channel": delivery.channel})
        is_open = await self._recording.write(partial(deliveries.mark_absent, self._context.db, delivery.id, reason))
        if is_open and delivery.id not in self._absent:
            self._absent[delivery.id] = entry
        else:  # discarded meanwhile, or queued twice because it was discarded and retried
            self._backlog.leave(entry)

    async def _tell_delays(self, lane: LaneKey) -> None:
        try:
            if self._context.adapter(lane[0]) is not None:  # without it the messages still wait
                await self._delays.tell(lane)
        except PLUGIN_ERRORS:  # the error boundary: the marks stay, and the next host tells people
            log.exception("people cannot be told of a delay", extra={"channel": lane[0], "room": lane[1]})


async def _nothing() -> None:
    return
