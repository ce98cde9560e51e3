"""Usage: the bytes and rows that sandboxes make the host store, counted per source and day (I14).

The counts are written in the transaction of the rows that they count, so they cost no commit and outlive the host.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import apsw
from attrs import field, frozen
from nanoclaw_wire import clock

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.ids import SessionId

_ADD = (
    "INSERT INTO usage (day, source, bytes, rows) VALUES (?, ?, ?, 1)"
    " ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes, rows = rows + 1 RETURNING bytes, rows"
)
INSTANCE = "instance"
MAX_ANSWERED = 8_000_000  # bytes of the answers to requests of one batch
SHARE_IF_FULL = 100  # if the instance is full, each session has this part of its day, so that one stops no other


@frozen(kw_only=True)
class Excess:
    """A row that exceeds a limit.

    Args:
        reason: The reason for the agent.
        is_first: True for the first such row of the day, which alone is worth a note and a log line.
        is_storable: False if not even a refusal may be stored.
    """

    reason: str
    is_first: bool
    is_storable: bool = True


@frozen(kw_only=True)
class Usage:
    """Counts and limits the rows of sandboxes."""

    db: apsw.Connection
    budgets: Budgets
    _answered: Counter[SessionId] = field(factory=Counter, init=False)  # bytes of answers that no row has counted yet
    _announced: set[tuple[str, SessionId, str]] = field(factory=set, init=False)

    def may_answer(self, session_id: SessionId, size: int) -> bool:
        """Count the bytes of an answer, which are stored with the session's next row; False if that must come first."""
        self._answered[session_id] += size
        return self._answered[session_id] <= MAX_ANSWERED

    def is_used_up(self, session_id: SessionId) -> bool:
        """Return True if nothing of a session's further rows is stored today."""
        query = "SELECT rows FROM usage WHERE day = ? AND source = ?"
        rows = self.db.execute(query, (clock.now_text()[:10], f"session {session_id}")).get or 0
        return bool(rows > self.budgets.session_rows_per_day)

    def charge(self, session_id: SessionId, size: int, room: Sequence[str | None] = ()) -> Excess | None:
        """Count a row of a session in the transaction that stores it.

        Args:
            session_id: The session.
            size: The size of the row in bytes.
            room: The channel and the room of a message that the session may write to; else empty.

        Returns:
            The limit that the row exceeds, so that its content must not be stored; None if it is within all budgets.
        """
        budgets, size = self.budgets, size + self._answered.pop(session_id, 0)
        written, count = self._add(f"session {session_id}", size)
        if count > budgets.session_rows_per_day:
            return self._excess(session_id, "rows", f"this session wrote {budgets.session_rows_per_day} rows today")
        if written > budgets.session_bytes_per_day:
            return self._excess(session_id, "bytes", f"this session wrote {budgets.session_bytes_per_day} bytes today")
        if room and self._add(f"room {json.dumps(room)}", size)[0] > budgets.room_bytes_per_day:
            reason = f"the agents wrote {budgets.room_bytes_per_day} bytes to this room today"
            return self._excess(session_id, "room", reason)
        if written > budgets.session_bytes_per_day // SHARE_IF_FULL and self.is_instance_full():
            self._add(INSTANCE, size)
            return self._excess(session_id, INSTANCE, f"the messages of all agents fill {budgets.instance_bytes} bytes")
        return None

    def is_instance_full(self) -> bool:
        """Return True if the central database is larger than its limit. Old rows make room after some days."""
        pages, free = self.db.pragma("page_count"), self.db.pragma("freelist_count")
        return bool((pages - free) * self.db.pragma("page_size") > self.budgets.instance_bytes)

    def prune(self, before: str) -> None:
        """Remove the counts of earlier days, and the refusals whose last one was before a time (clock text form)."""
        today = clock.now_text()[:10]
        self._announced.difference_update([key for key in self._announced if key[0] < today])
        self.db.execute("DELETE FROM usage WHERE day < ?", (today,))
        self.db.execute("DELETE FROM dropped_messages WHERE last_at < ?", (before,))

    def _excess(self, session_id: SessionId, kind: str, reason: str) -> Excess:
        key = (clock.now_text()[:10], session_id, kind)
        is_first = key not in self._announced  # for each session, so that no other uses up the notice of its people
        self._announced.add(key)
        text = f"{reason}, which is the limit. More is refused until midnight UTC or until old messages are removed."
        return Excess(reason=text, is_first=is_first, is_storable=kind != "rows")

    def _add(self, source: str, size: int) -> tuple[int, int]:
        counts: tuple[int, int] = self.db.execute(_ADD, (clock.now_text()[:10], source, size)).get
        return counts


def full_sources(db: apsw.Connection, budgets: Budgets) -> list[str]:
    """Return the sources that exceed a limit today, each with its counts, for the operator."""
    query = (
        "SELECT source, bytes, rows FROM usage WHERE day = ?1 AND (source = 'instance'"
        " OR source LIKE 'session %' AND (bytes > ?2 OR rows > ?3) OR source LIKE 'room %' AND bytes > ?4) LIMIT 20"
    )
    values = (clock.now_text()[:10], budgets.session_bytes_per_day, budgets.session_rows_per_day)
    found = db.execute(query, (*values, budgets.room_bytes_per_day))
    return [f"{source}: {written} bytes in {count} rows today" for source, written, count in found]
