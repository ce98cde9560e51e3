"""Attempts to send one message, until it is sent or has failed for good.

I4: an attempt is recorded before it is made, and every attempt carries the same idempotency key.

Only a refusal is final. The failure of a platform says nothing about the message, so the message is retried for a day
with growing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from attrs import define, evolve, field, frozen
from nanoclaw_untrusted.files import InvalidFile
from nanoclaw_wire import clock
from nanoclaw_wire.content import Malformed

from nanoclaw_core.delivery.backlog import Backlog, Entry, QueueKey, Stage
from nanoclaw_core.delivery.context import DeliveryContext
from nanoclaw_core.delivery.dates import age_s, seconds_until
from nanoclaw_core.delivery.delays import Delays
from nanoclaw_core.delivery.recording import Recording
from nanoclaw_core.errors import PLUGIN_ERRORS, DeliveryRefused
from nanoclaw_core.ids import DeliveryId
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery, DeliveryStatus

log = logging.getLogger(__name__)


@frozen
class _Pause:
    entry: Entry
    ended: asyncio.Event = field(factory=asyncio.Event)


@frozen
class _Failure:
    problem: str
    is_final: bool = False


@define(eq=False)
class Attempts:
    """Sends messages, one at a time in each room."""

    _context: DeliveryContext
    _recording: Recording
    _backlog: Backlog
    _delays: Delays
    _pauses: dict[DeliveryId, _Pause] = field(factory=dict, init=False)
    _failures: Counter[QueueKey] = field(factory=Counter, init=False)  # in a row, in each room

    def resume(self, delivery: Delivery) -> bool:
        """End the pause of a delivery that the operator changed; return False if it is not paused."""
        if (pause := self._pauses.get(delivery.id)) is None:
            return False
        pause.entry.queued_at = asyncio.get_running_loop().time()
        pause.entry.delivery = evolve(pause.entry.delivery, retried_at=delivery.retried_at)
        pause.ended.set()
        return True

    async def finish(self, entry: Entry) -> None:
        """Try until the message is sent, has failed for good or is discarded."""
        first = entry.delivery
        # Attempts of earlier hosts do not count: the clock may have jumped between them.
        failures, began = 0, clock.now()
        if first.status is DeliveryStatus.QUEUED and first.attempts:
            # Never wait longer than the longest pause: the clock may have been set back.
            longest_s = max(self._context.pauses_s, default=0.0)
            await self._pause(entry, min(max(0.0, seconds_until(first.next_try_at)), longest_s))
        while (failure := await self._attempt(entry)) is not None:
            failures += 1
            self._failures[entry.queue_key] += not failure.is_final
            if failure.is_final or self._is_too_old(entry, failures, began):
                await self.fail(entry.delivery, failure.problem)
                return
            self._backlog.stop(entry.queue_key)
            await self._wait(entry, pause_after(failures, self._context.pauses_s), failure.problem)
        del self._failures[entry.queue_key]

    async def fail(self, delivery: Delivery, problem: str) -> None:
        """Mark a message as failed for good and report it, unless it is already finished."""
        problem = _storable(problem)
        if not await self._recording.write(partial(deliveries.mark_failed, self._context.db, delivery.id, problem)):
            return
        log.error("delivery failed", extra={"delivery": delivery.id, "channel": delivery.channel, "error": problem})
        await self._context.events.delivery_failed(delivery, problem)
        self._context.plugins.notify(
            "nanoclaw_delivery_failed", address=delivery.address, delivery_id=delivery.id, reason=problem
        )

    def _is_too_old(self, entry: Entry, failures: int, began: datetime) -> bool:
        """Return True after the last attempt.

        The machine's clock may jump, so a message that is old by it uses every pause. One that this host has held for
        so long by its own clock needs one failure, or a long queue would outlive the limit by days.
        """
        tries, limit_s = len(self._context.pauses_s), self._context.max_age_s
        if self._failures[entry.queue_key] <= tries:
            return False
        held_s = asyncio.get_running_loop().time() - entry.queued_at
        return held_s > limit_s or (failures > tries and age_s(entry.delivery, began) > limit_s)

    async def _wait(self, entry: Entry, pause_s: float, problem: str) -> None:
        delivery_id, next_try_at = entry.delivery.id, clock.to_text(clock.now() + timedelta(seconds=pause_s))
        problem = _storable(problem)
        await self._recording.write(
            partial(deliveries.mark_waiting, self._context.db, delivery_id, next_try_at, problem)
        )
        log.warning("delivery will be tried again", extra={"delivery": delivery_id, "error": problem})
        await self._pause(entry, pause_s)

    async def _pause(self, entry: Entry, pause_s: float) -> None:
        pause = self._pauses[entry.delivery.id] = _Pause(entry)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pause.ended.wait(), pause_s)
        finally:
            del self._pauses[entry.delivery.id]

    async def _attempt(self, entry: Entry) -> _Failure | None:
        """Make one attempt; return None if the message was sent, or discarded while it waited."""
        delivery, context = entry.delivery, self._context
        if not await self._recording.write(partial(deliveries.mark_sending, context.db, delivery.id)):
            return None
        adapter, address = context.adapters.get(delivery.channel), delivery.address
        assert adapter is not None  # the queue checked it, and adapters live as long as the host
        try:
            message = context.builder.build(delivery, entry.message)
            async with asyncio.timeout(context.timing.send_timeout_s):
                answer = await adapter.deliver(address, message)
        except (DeliveryRefused, InvalidFile, Malformed) as error:
            return _Failure(str(error), is_final=True)
        except TimeoutError:
            return _Failure(f"the platform did not answer within {context.timing.send_timeout_s:.0f} s")
        except PLUGIN_ERRORS as error:  # error boundary: an adapter may raise anything
            return _Failure(f"{type(error).__name__}: {error}")

        platform_id, is_late = _storable(answer) if isinstance(answer, str) else None, False
        if entry.stage is Stage.WAITING:  # its room had stopped
            self._backlog.resume(entry.queue_key)
            is_late = self._delays.is_late(entry)
        mark = partial(deliveries.mark_sent, context.db, delivery.id, platform_id, owes_notice=is_late)
        await self._recording.write(mark)
        log.info("message delivered", extra={"delivery": delivery.id})
        if is_late:
            self._delays.owing.add(entry.queue_key)
        if message.files:
            context.builder.clear(delivery)
        if delivery.session_id is not None:
            context.typing.pause(delivery.session_id)
        context.plugins.notify(
            "nanoclaw_message_delivered", address=address, delivery_id=delivery.id, platform_message_id=platform_id
        )
        return None


def pause_after(attempts: int, pauses_s: Sequence[float]) -> float:
    """Return the seconds to wait after a number of failed attempts."""
    return pauses_s[min(attempts, len(pauses_s)) - 1]


def _storable(text: str) -> str:
    """Escape lone surrogates, which SQLite rejects and file names can have."""
    return text.encode("utf-8", "backslashreplace").decode()
