"""Counts of unfinished messages: moving messages and waiting messages.

I14  A message moves if its room works. If a session has too many moving messages, the import from it stops, so that
     the session cannot write faster than its platforms accept. A message waits if its room does not work, or for its
     own date. Waiting messages are limited per session and room and do not stop the import: one room must never delay
     another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from enum import Enum, auto
from typing import TypeVar

from attrs import define
from nanoclaw_wire.content import Message

from nanoclaw_core.delivery.dates import seconds_to_own_date
from nanoclaw_core.ids import SessionId
from nanoclaw_core.store.deliveries import Delivery

MAX_WAITING = 2_000  # messages of one session for one room
QueueKey = tuple[str, str]
Key = TypeVar("Key")


class Stage(Enum):
    """State under which an unfinished message is counted."""

    MOVING = auto()
    WAITING = auto()
    DATED = auto()


CountKey = tuple[Stage, SessionId | None, QueueKey]


@define(eq=False)
class Entry:
    """A queued delivery.

    Args:
        stage: Stays WAITING once the room has stopped, even if the room works again.
        queue_key: The channel and the room.
        message: The parsed content; None if this host did not import it.
        queued_at: Time at which this host queued it, or the operator retried it; the event loop's clock.
    """

    delivery: Delivery
    stage: Stage
    queue_key: QueueKey
    message: Message | None = None
    queued_at: float = 0.0


class Backlog:
    """The unfinished messages of a host.

    Args:
        adapters: Names of the channels that run.

    Attributes:
        moving: The number of moving messages of each session.
    """

    def __init__(self, adapters: Container[str]) -> None:
        self._adapters = adapters
        self._counts: Counter[CountKey] = Counter()
        self.moving: Counter[SessionId | None] = Counter()
        self._moving_in: dict[QueueKey, set[Entry]] = {}
        self._stopped: set[QueueKey] = set()

    def unfinished(self, session_id: SessionId) -> int:
        """Return the number of unfinished messages of a session."""
        return sum(count for (_, owner, _), count in self._counts.items() if owner == session_id)

    def enter(self, delivery: Delivery, message: Message | None = None) -> Entry:
        """Count a delivery.

        If its own date is in the future, it is DATED until `fall_due`.
        """
        stage = Stage.DATED if _is_dated(delivery) else self._stage_now(delivery)
        entry = Entry(delivery, stage, queue_key(delivery), message)
        self._count(entry, 1)
        return entry

    def fall_due(self, entry: Entry) -> None:
        """Count a dated delivery according to the state of its room."""
        self._move_to(entry, self._stage_now(entry.delivery))

    def leave(self, entry: Entry) -> None:
        """Stop counting a delivery."""
        self._count(entry, -1)

    def stop(self, key: QueueKey) -> None:
        """Note that a room does not work, so that its messages wait."""
        self._stopped.add(key)
        for entry in list(self._moving_in.get(key, ())):
            self._move_to(entry, Stage.WAITING)

    def resume(self, key: QueueKey) -> None:
        """Note that a room works, so that new messages for it move."""
        self._stopped.discard(key)

    def refusal(self, delivery: Delivery) -> str | None:
        """Return the reason why a new message cannot wait, or None if it may be entered."""
        owner, key, is_dated = delivery.session_id, queue_key(delivery), _is_dated(delivery)
        count = self._counts[Stage.WAITING, owner, key]
        if is_dated:  # dated messages become waiting messages later, so the limit applies to both together
            count += self._counts[Stage.DATED, owner, key]
        return _too_many(delivery, is_dated=is_dated) if count >= MAX_WAITING else None

    def _stage_now(self, delivery: Delivery) -> Stage:
        has_stopped = queue_key(delivery) in self._stopped or delivery.channel not in self._adapters
        return Stage.WAITING if has_stopped or delivery.last_error is not None else Stage.MOVING

    def _move_to(self, entry: Entry, stage: Stage) -> None:
        self._count(entry, -1)
        entry.stage = stage
        self._count(entry, 1)

    def _count(self, entry: Entry, by: int) -> None:
        owner, key = entry.delivery.session_id, entry.queue_key
        _add(self._counts, (entry.stage, owner, key), by)
        if entry.stage is not Stage.MOVING:
            return
        _add(self.moving, owner, by)
        if by > 0:
            self._moving_in.setdefault(key, set()).add(entry)
        else:
            self._moving_in[key].discard(entry)
            if not self._moving_in[key]:
                del self._moving_in[key]


def queue_key(delivery: Delivery) -> QueueKey:
    """Return the key of a delivery's queue: its channel and its room."""
    return (delivery.channel, delivery.room)


def _is_dated(delivery: Delivery) -> bool:
    return delivery.next_try_at is not None and seconds_to_own_date(delivery) > 0


def _add(counts: Counter[Key], key: Key, by: int) -> None:
    counts[key] += by
    if not counts[key]:
        del counts[key]


def _too_many(delivery: Delivery, *, is_dated: bool) -> str:
    room = f"the room {delivery.room!r} of the channel {delivery.channel!r}"
    goal = f"their dates or for {room}" if is_dated else f"{room}, because its platform did not accept them yet"
    return f"{MAX_WAITING} of your messages wait for {goal}. This is the limit. Write it again when they are sent."
