"""Counting the messages that are not finished: those that move, and those that wait.

I14  A message moves if its room works. Too many of a session stop the import from the session, so that it writes no
     faster than its platforms take. A message waits for a room that does not work, or for its own date. These have a
     limit per session and room, and do not stop the import: one room must never delay another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar

from attrs import define

from nanoclaw_core.delivery.dates import seconds_to_own_date
from nanoclaw_core.ids import SessionId
from nanoclaw_core.store.deliveries import Delivery

MAX_WAITING = 2_000  # messages of one session for one room
LaneKey = tuple[str, str]
Key = TypeVar("Key")


class Stage(Enum):
    """How an unfinished message is counted."""

    MOVING = auto()
    WAITING = auto()
    DATED = auto()


CountKey = tuple[Stage, SessionId | None, LaneKey]


@define(eq=False)
class Entry:
    """A queued delivery.

    Args:
        stage: It stays WAITING once its room has stopped, also when the room works again.
    """

    delivery: Delivery
    stage: Stage

    @property
    def lane(self) -> LaneKey:
        return lane_of(self.delivery)


class Backlog:
    """The unfinished messages of a host.

    Args:
        is_absent: True for a channel without a running adapter.
    """

    def __init__(self, is_absent: Callable[[str], bool]) -> None:
        self._is_absent = is_absent
        self._counts: Counter[CountKey] = Counter()
        self._moving: Counter[SessionId | None] = Counter()
        self._moving_in: dict[LaneKey, set[Entry]] = {}
        self._stopped: set[LaneKey] = set()

    def moving(self, session_id: SessionId) -> int:
        """Return how many messages of a session move."""
        return self._moving[session_id]

    def unfinished(self, session_id: SessionId) -> int:
        """Return how many messages of a session are not finished."""
        return sum(count for (_, owner, _), count in self._counts.items() if owner == session_id)

    def enter(self, delivery: Delivery) -> Entry:
        """Count a delivery; one with an own date that is not over is DATED until `fall_due`."""
        entry = Entry(delivery, Stage.DATED if seconds_to_own_date(delivery) > 0 else self._stage_now(delivery))
        self._count(entry, 1)
        return entry

    def fall_due(self, entry: Entry) -> None:
        """Count a dated delivery by the state of its room."""
        self._move_to(entry, self._stage_now(entry.delivery))

    def leave(self, entry: Entry) -> None:
        """Stop counting a delivery."""
        self._count(entry, -1)

    def stop(self, lane: LaneKey) -> None:
        """Note that a room does not work: its messages wait."""
        self._stopped.add(lane)
        for entry in list(self._moving_in.get(lane, ())):
            self._move_to(entry, Stage.WAITING)

    def resume(self, lane: LaneKey) -> None:
        """Note that a room works: new messages for it move."""
        self._stopped.discard(lane)

    def refusal(self, delivery: Delivery, more: Counter[CountKey]) -> str | None:
        """Return the reason why a new message cannot wait, or None if it may be queued.

        Args:
            more: The messages that are accepted but not counted yet. The delivery is added if it may wait.
        """
        owner, lane = delivery.session_id, lane_of(delivery)
        is_dated, stage_now = seconds_to_own_date(delivery) > 0, self._stage_now(delivery)
        waiting, dated = (Stage.WAITING, owner, lane), (Stage.DATED, owner, lane)
        count = self._counts[waiting] + more[waiting]
        # Messages with a date become messages that wait, so both together keep to the limit.
        if is_dated:
            count += self._counts[dated] + more[dated]
        if count >= MAX_WAITING:
            return _too_many(delivery, is_dated=is_dated)
        if is_dated or stage_now is Stage.WAITING:
            more[dated if is_dated else waiting] += 1
        return None

    def _stage_now(self, delivery: Delivery) -> Stage:
        has_stopped = lane_of(delivery) in self._stopped or self._is_absent(delivery.channel)
        return Stage.WAITING if has_stopped or delivery.last_error is not None else Stage.MOVING

    def _move_to(self, entry: Entry, stage: Stage) -> None:
        self._count(entry, -1)
        entry.stage = stage
        self._count(entry, 1)

    def _count(self, entry: Entry, by: int) -> None:
        owner, lane = entry.delivery.session_id, entry.lane
        _add(self._counts, (entry.stage, owner, lane), by)
        if entry.stage is not Stage.MOVING:
            return
        _add(self._moving, owner, by)
        if by > 0:
            self._moving_in.setdefault(lane, set()).add(entry)
        else:
            self._moving_in[lane].discard(entry)
            if not self._moving_in[lane]:
                del self._moving_in[lane]


def lane_of(delivery: Delivery) -> LaneKey:
    """Return the queue of a delivery: its channel and its room."""
    return (delivery.channel, delivery.room)


def _add(counts: Counter[Key], key: Key, by: int) -> None:
    counts[key] += by
    if not counts[key]:
        del counts[key]


def _too_many(delivery: Delivery, *, is_dated: bool) -> str:
    where = f"the room {delivery.room!r} of the channel {delivery.channel!r}"
    goal = f"their dates or for {where}" if is_dated else f"{where}, whose platform did not take them yet"
    return f"{MAX_WAITING} of your messages wait for {goal}, and no more are kept. Write it again when they are sent."
