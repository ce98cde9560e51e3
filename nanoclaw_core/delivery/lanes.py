"""Sending: one lane per destination, in order; a message that fails is never overtaken by the one behind it.

I4: an attempt is recorded before it is made, and every attempt carries the same idempotency key.

Only a refusal is final. A platform that does not work says nothing about a message, so the message waits, with pauses
that grow, for a day. Without its channel's adapter it waits for a host that has it, and no attempt is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import apsw
from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.content import Malformed

from nanoclaw_core import logs
from nanoclaw_core.descriptors.channels import ChannelAdapter
from nanoclaw_core.descriptors.messages import Address, Outbound
from nanoclaw_core.errors import PLUGIN_TROUBLE, DeliveryRefused
from nanoclaw_core.ids import DeliveryId, SessionId
from nanoclaw_core.mailbox.outbox import OutboxRefused
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.connection import STORE_AGAIN_S
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus

log = logging.getLogger(__name__)
SEND_TIMEOUT_S = 120.0
SETTLE_S = 2.0
DELAY_TOLD_S = 60.0  # people notice a longer one, and would read an old answer as a new one
LaneKey = tuple[str, str]
T = TypeVar("T")
AfterAll = Callable[[], Awaitable[None]]


@frozen(kw_only=True)
class Sending:
    """What the lanes work with.

    Args:
        adapter: The running adapter of a channel, or None.
        build: Makes the message for the platform from the stored one; raises what makes it impossible.
        failed: Told when a message failed for good, before the next one is sent.
        sent: Told when a platform took a message.
        delayed: Called when a room's queue is empty again, with the creation time of its first delayed message.
        pauses_s: How long to wait before each further attempt; the last one repeats.
        max_age_s: Seconds from a message's creation during which delivery is tried again. Every pause is used once.
        sleep: Waits so many seconds; tests give their own.
    """

    db: apsw.Connection
    plugins: Plugins
    adapter: Callable[[str], ChannelAdapter | None]
    build: Callable[[Delivery], Outbound]
    failed: Callable[[Delivery, str], Awaitable[None]]
    sent: Callable[[Delivery], None]
    delayed: Callable[[Address, datetime], None]
    pauses_s: Sequence[float]
    max_age_s: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Lanes:
    """All destinations of a host. `start` takes up what an earlier host left."""

    def __init__(self, sending: Sending) -> None:
        self._with = sending
        self._waiting: dict[LaneKey, deque[Delivery | AfterAll]] = {}
        self._workers: dict[LaneKey, asyncio.Task[None]] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._pauses: dict[DeliveryId, asyncio.Future[None]] = {}
        self._backlog: Counter[SessionId | None] = Counter()
        self._absent: dict[DeliveryId, Delivery] = {}  # their channel has no adapter in this host
        self._absent_channels: set[str] = set()
        self._delays: dict[LaneKey, tuple[Address, datetime]] = {}

    def start(self) -> None:
        """Queue everything that is not finished, in order."""
        self.put(deliveries.open_deliveries(self._with.db))

    def put(self, queued: Iterable[Delivery]) -> None:
        """Queue stored messages behind what their destinations have; one with a later date waits for it aside."""
        for delivery in queued:
            self._backlog[delivery.session_id] += 1
            wait_s = _seconds_until(delivery.next_try_at) if delivery.attempts == 0 else 0.0
            if wait_s > 0:
                task = asyncio.create_task(self._put_later(delivery, wait_s))
                self._later.add(task)
                task.add_done_callback(self._later.discard)
            else:
                self._append((delivery.channel, delivery.room), delivery)

    def look_again(self, delivery: Delivery) -> None:
        """Take up what was changed about a delivery: it is queued again, or waits no more and was given up."""
        if (absent := self._absent.pop(delivery.id, None)) is not None:
            self._finished(absent)
        if delivery.id in self._pauses:
            self._pauses[delivery.id].cancel()
        elif delivery.status is DeliveryStatus.QUEUED:
            self.put([delivery])

    def backlog(self, session_id: SessionId) -> int:
        """Return how many messages of a session are not finished."""
        return self._backlog[session_id]

    def after(self, address: Address, act: AfterAll) -> None:
        """Do something when everything queued for a destination is finished. Not kept over a restart."""
        self._append((address.channel, address.room), act)

    async def drained(self) -> None:
        """Wait until every lane is empty; for tests and for a stop in order."""
        while self._workers:
            await asyncio.wait(list(self._workers.values()))

    async def settle_briefly(self) -> None:
        """Give what is queued a moment to go out; what does not is sent by the next host."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self.drained()

    async def close(self) -> None:
        """Stop sending. What is under way is cut off and tried again by the next host under the same key."""
        tasks = [*self._workers.values(), *self._later]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._workers.clear()

    def _append(self, lane: LaneKey, item: Delivery | AfterAll) -> None:
        self._waiting.setdefault(lane, deque()).append(item)
        if lane not in self._workers:
            self._workers[lane] = asyncio.create_task(self._work(lane), context=Context())

    async def _put_later(self, delivery: Delivery, wait_s: float) -> None:
        await self._with.sleep(wait_s)
        self._append((delivery.channel, delivery.room), delivery)

    async def _work(self, lane: LaneKey) -> None:
        waiting = self._waiting[lane]
        try:
            while waiting:
                item = waiting.popleft()
                if not isinstance(item, Delivery):
                    with contextlib.suppress(Exception):  # a hint to people; nothing depends on it
                        await item()
                elif self._with.adapter(item.channel) is None:
                    await self._leave(item)
                else:
                    await self._finish(item)
                    self._finished(item)
                if not waiting and lane in self._delays:
                    self._with.delayed(*self._delays.pop(lane))
                await asyncio.sleep(0)  # each lane in turn, also where an adapter never waits
        finally:
            del self._workers[lane]
            if not waiting:
                self._waiting.pop(lane, None)

    def _finished(self, delivery: Delivery) -> None:
        self._backlog[delivery.session_id] -= 1
        if not self._backlog[delivery.session_id]:
            del self._backlog[delivery.session_id]

    async def _leave(self, delivery: Delivery) -> None:
        """Leave a message queued for a host that has its channel."""
        reason = f"the channel {delivery.channel!r} is not running"
        if delivery.channel not in self._absent_channels:
            self._absent_channels.add(delivery.channel)
            log.error("messages wait for a channel that is not running", extra={"channel": delivery.channel})
        self._absent[delivery.id] = delivery
        await self._store(partial(deliveries.mark_absent, self._with.db, delivery.id, reason))

    async def _finish(self, delivery: Delivery) -> None:
        """Try until the message is sent or failed for good."""
        with logs.context(correlation=delivery.correlation_id or delivery.id):
            # An attempt that the end of a host cut off is made again and not counted again.
            attempts = delivery.attempts - (delivery.status is DeliveryStatus.SENDING)
            is_late = delivery.last_error is not None
            if delivery.status is DeliveryStatus.QUEUED and attempts:
                # Never longer than any pause: the clock may have been set back since.
                longest_s = max(self._with.pauses_s, default=0.0)
                await self._pause(delivery, min(max(0.0, _seconds_until(delivery.next_try_at)), longest_s))
            while True:
                attempts += 1
                problem, is_final = await self._attempt(delivery, is_late=is_late)
                if problem is None:
                    return
                is_late = True
                if is_final or self._is_too_old(delivery, attempts):
                    await self._fail(delivery, problem)
                    return
                pause_s = pause_after(attempts, self._with.pauses_s)
                next_try_at = clock.to_text(clock.now() + timedelta(seconds=pause_s))
                await self._store(partial(deliveries.mark_waiting, self._with.db, delivery.id, next_try_at, problem))
                log.warning("delivery will be tried again", extra={"delivery": delivery.id, "error": problem})
                await self._pause(delivery, pause_s)

    def _is_too_old(self, delivery: Delivery, attempts: int) -> bool:
        """Return True after the last attempt. The clock may have jumped, so every pause is used at least once."""
        return attempts > len(self._with.pauses_s) and -_seconds_until(delivery.created_at) > self._with.max_age_s

    def _note_delay(self, delivery: Delivery, *, is_late: bool) -> None:
        lane = (delivery.channel, delivery.room)
        is_noticed = is_late and -_seconds_until(delivery.created_at) > DELAY_TOLD_S
        if is_noticed and delivery.session_id is not None and lane not in self._delays:  # lanes keep the order
            self._delays[lane] = (delivery.address, clock.from_text(delivery.created_at))

    async def _pause(self, delivery: Delivery, pause_s: float) -> None:
        pause = self._pauses[delivery.id] = asyncio.ensure_future(self._with.sleep(pause_s))
        try:
            await asyncio.wait([pause])
        finally:
            pause.cancel()
            del self._pauses[delivery.id]

    async def _attempt(self, delivery: Delivery, *, is_late: bool) -> tuple[str | None, bool]:
        """Make one attempt; return what went wrong and whether that is final."""
        if not await self._store(partial(deliveries.mark_sending, self._with.db, delivery.id)):
            return None, True  # the operator discarded it while it waited
        adapter = self._with.adapter(delivery.channel)
        assert adapter is not None  # the lane looked, and adapters stay as long as the host
        try:
            message = self._with.build(delivery)
            async with asyncio.timeout(SEND_TIMEOUT_S):
                platform_id = await adapter.deliver(delivery.address, message)
        except (DeliveryRefused, OutboxRefused, Malformed) as error:
            return str(error), True
        except TimeoutError:
            return f"the platform did not answer within {SEND_TIMEOUT_S:.0f} s", False
        except PLUGIN_TROUBLE as error:  # the call fence: an adapter may raise anything
            return f"{type(error).__name__}: {error}", False
        platform_id = platform_id if isinstance(platform_id, str) else None
        await self._store(partial(deliveries.mark_sent, self._with.db, delivery.id, platform_id))
        log.info("message delivered", extra={"delivery": delivery.id})
        self._note_delay(delivery, is_late=is_late)
        self._with.sent(delivery)
        self._with.plugins.notify(
            "nanoclaw_message_delivered",
            address=delivery.address,
            delivery_id=delivery.id,
            platform_message_id=platform_id,
        )
        return None, False

    async def _store(self, write: Callable[[], T]) -> T:
        """Write a state. Where the database takes none the lane waits: nothing is overtaken or sent twice (I4)."""
        while True:
            try:
                return write()
            except apsw.Error as error:
                log.error("delivery cannot be recorded", extra={"error": str(error), "again_in_s": STORE_AGAIN_S})
                await self._with.sleep(STORE_AGAIN_S)

    async def _fail(self, delivery: Delivery, problem: str) -> None:
        await self._store(partial(deliveries.mark_failed, self._with.db, delivery.id, problem))
        log.error("delivery failed", extra={"delivery": delivery.id, "channel": delivery.channel, "error": problem})
        await self._with.failed(delivery, problem)
        self._with.plugins.notify(
            "nanoclaw_delivery_failed", address=delivery.address, delivery_id=delivery.id, reason=problem
        )


def pause_after(attempts: int, pauses_s: Sequence[float]) -> float:
    """Return the seconds to wait after a number of failed attempts."""
    return pauses_s[min(attempts, len(pauses_s)) - 1]


def _seconds_until(at: str | None) -> float:
    return (clock.from_text(at) - clock.now()).total_seconds() if at else 0.0
