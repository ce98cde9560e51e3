"""Telling people that messages come late: they would read an old answer as a new one.

A message that is sent late after an outage is marked in the same write. When its room's queue is empty again, one
notice goes to each thread with marked messages, and the marks are removed. So the next host tells the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import apsw
from nanoclaw_wire import clock

from nanoclaw_core.delivery.backlog import Entry, LaneKey, Stage
from nanoclaw_core.delivery.dates import first_due
from nanoclaw_core.delivery.recording import Recording
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.store import deliveries

DELAY_TOLD_S = 60.0  # people notice a longer one
Tell = Callable[[Address, datetime, str], None]


class Delays:
    """The rooms whose people are to be told that messages came late.

    Args:
        tell: Queues a notice for an address: since when, and a name under which the notice is queued only once.
    """

    def __init__(self, db: apsw.Connection, recording: Recording, tell: Tell) -> None:
        self._db, self._recording, self._tell = db, recording, tell
        self._owing: set[LaneKey] = set()

    def read(self) -> set[LaneKey]:
        """Read the rooms that an earlier host did not tell, and return them."""
        self._owing = set(deliveries.rooms_owing_notices(self._db))
        return set(self._owing)

    def is_late(self, entry: Entry) -> bool:
        """Return True for a message of a session that an outage has kept for long."""
        if entry.stage is not Stage.WAITING or entry.delivery.session_id is None:
            return False
        return (clock.now() - first_due(entry.delivery)).total_seconds() > DELAY_TOLD_S

    def note(self, lane: LaneKey) -> None:
        """Note that a marked message of a room was sent."""
        self._owing.add(lane)

    async def tell(self, lane: LaneKey) -> None:
        """Queue the notices of a room whose queue is empty, if it has any."""
        if lane in self._owing:
            await self._recording.write(lambda: self._queue_notices(lane))
            self._owing.discard(lane)

    def _queue_notices(self, lane: LaneKey) -> None:
        # A crash before the marks are removed repeats this: the name of a notice is that of its first late message.
        for first in deliveries.first_owing_notice(self._db, *lane):
            self._tell(first.address, first_due(first), f"late-{first.id}")
        deliveries.mark_notices_queued(self._db, *lane)
