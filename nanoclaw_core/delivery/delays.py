"""Notices about late messages: without one, people would read an old answer as a new one.

A message that is sent late after an outage is marked in the same write. Once the room's queue is empty, one notice goes
to each thread with marked messages, and the marks are removed. The next host sends notices for the remaining marks.
"""

from __future__ import annotations

import apsw
from nanoclaw_wire import clock

from nanoclaw_core.delivery.backlog import Entry, QueueKey, Stage
from nanoclaw_core.delivery.dates import first_due
from nanoclaw_core.delivery.recording import Recording
from nanoclaw_core.events import HostEvents
from nanoclaw_core.store import deliveries


class Delays:
    """Notices about late messages.

    Args:
        notice_s: Seconds from which on a message is late.

    Attributes:
        owing: Rooms that need a notice.
    """

    def __init__(self, db: apsw.Connection, recording: Recording, events: HostEvents, notice_s: float) -> None:
        self._db, self._recording, self._events, self._notice_s = db, recording, events, notice_s
        self.owing: set[QueueKey] = set()

    def read(self) -> set[QueueKey]:
        """Read and return the rooms that still need a notice from an earlier host."""
        self.owing = set(deliveries.rooms_owing_notices(self._db))
        return set(self.owing)

    def is_late(self, entry: Entry) -> bool:
        """Return True if an outage delayed a message of a session for too long."""
        if entry.stage is not Stage.WAITING or entry.delivery.session_id is None:
            return False
        return (clock.now() - first_due(entry.delivery)).total_seconds() > self._notice_s

    async def queue_notices(self, key: QueueKey) -> None:
        """Queue the pending notices of a room, after its queue has become empty."""
        await self._recording.write(lambda: self._queue_notices(key))
        self.owing.discard(key)

    def _queue_notices(self, key: QueueKey) -> None:
        # After a crash before the marks are removed this runs again. The deduplication key comes from the first late
        # message, so a notice is queued only once.
        for first in deliveries.first_owing_notice(self._db, *key):
            self._events.delivery_delayed(first.address, first_due(first), f"late-{first.id}")
        deliveries.mark_notices_queued(self._db, *key)
