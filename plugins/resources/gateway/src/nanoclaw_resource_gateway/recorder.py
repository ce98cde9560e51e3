"""Stores the records of calls in groups, so that no call waits for the database."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import apsw
from nanoclaw_wire import clock

from nanoclaw_core import SessionId
from nanoclaw_resource_gateway.rows import DAY_CHARACTERS, Call, count_calls, insert_calls

log = logging.getLogger("nanoclaw.gateway")

STORE_S = 0.25  # all sessions share one commit in this time; a killed host loses these records


class CallRecorder:
    """Stores call records at most `STORE_S` later, in one transaction for all sessions.

    Args:
        database: The central database.
        max_records: The number of records per session and day. Later calls are only counted.
    """

    def __init__(self, database: apsw.Connection, max_records: int) -> None:
        self._database, self._max_records = database, max_records
        self._calls: list[Call] = []
        self._unrecorded: Counter[tuple[SessionId, str]] = Counter()
        self._day, self._recorded = "", dict[SessionId, int]()  # how many records sessions have on one day
        self._timer: asyncio.TimerHandle | None = None

    def record(self, call: Call) -> None:
        """Keep the record of a call until the next group is stored."""
        day = clock.now_text()[:DAY_CHARACTERS]
        if self._count(call.session_id, day) <= self._max_records:
            self._calls.append(call)
        else:
            self._unrecorded[call.session_id, day] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STORE_S, self.store)

    def store(self) -> None:
        """Store the records now."""
        if self._timer is None:
            return
        self._timer.cancel()
        calls, unrecorded = self._calls, self._unrecorded
        self._timer, self._calls, self._unrecorded = None, [], Counter()
        try:
            insert_calls(self._database, calls, unrecorded)
        except apsw.Error as error:  # the answers are already sent, so a logged gap is the smaller harm
            count = len(calls) + unrecorded.total()
            log.error("calls not recorded", extra={"count": count, "error": str(error)})

    def _count(self, session_id: SessionId, day: str) -> int:
        """Count one more call of a session, and return how many it made that day."""
        if day != self._day:
            self._day = day
            self._recorded.clear()
        if session_id not in self._recorded:
            self._recorded[session_id] = self._stored(session_id, day)
        self._recorded[session_id] += 1
        if self._recorded[session_id] == self._max_records + 1:
            extra = {"session": session_id, "max_records": self._max_records}
            log.warning("later model calls of today are only counted", extra=extra)
        return self._recorded[session_id]

    def _stored(self, session_id: SessionId, day: str) -> int:
        try:
            return count_calls(self._database, session_id, day, limit=self._max_records)
        except apsw.Error as error:
            log.error("calls not counted", extra={"session": session_id, "error": str(error)})
            return 0
