"""Dropped messages: counted per room, sender and reason (⚠19).

Strangers cause them, so their rows, writes and log lines are limited (I14): a flood is written at most ten times a
second, and costs no row beyond `refused_senders` of a room.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import apsw
from attrs import define, field, frozen
from nanoclaw_wire import clock
from nanoclaw_wire.rates import Rates

from nanoclaw_core.store.messaging import MessagingGroup, add
from nanoclaw_core.store.usage import Usage

log = logging.getLogger(__name__)
MAX_UNWRITTEN = 1_000
FLUSH_S = 1.0
ROOMS = 20  # all rooms together have at most this many times the refusals of one room
REPORT_S = 3_600.0
LOOK_AGAIN_S = 60.0  # after a channel had too many unknown rooms
_COUNT = (
    "UPDATE dropped_messages SET count = count + ?, last_at = ?, sender_name = coalesce(?, sender_name)"
    " WHERE channel = ? AND room = ? AND sender = ? AND reason = ? AND agent_group_id = ?"
)
_ADD = (
    "INSERT INTO dropped_messages"
    " (count, last_at, sender_name, channel, room, sender, reason, agent_group_id, first_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@frozen(kw_only=True)
class DroppedMessage:
    """A refused message. `sender` is empty if the platform does not name one."""

    channel: str
    room: str
    sender: str
    sender_name: str | None
    reason: str
    agent_group_id: str = ""


@define(kw_only=True, eq=False)
class DroppedMessages:
    """Records the refused messages of a host."""

    db: apsw.Connection
    usage: Usage
    _unwritten: Counter[DroppedMessage] = field(factory=Counter, init=False)
    _writes: Rates = field(factory=lambda: Rates(count=20, fill_s=2.0), init=False)
    _reports: Rates = field(factory=lambda: Rates(count=1, fill_s=REPORT_S), init=False)
    _full_until: dict[str, float] = field(factory=dict, init=False)
    _flush: asyncio.TimerHandle | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)

    def record(self, drop: DroppedMessage) -> None:
        """Count a refused message at once, or within a second if many come.

        Raises:
            apsw.Error: It is not written now, but with the next one.
        """
        loop = asyncio.get_running_loop()
        if drop in self._unwritten or len(self._unwritten) < MAX_UNWRITTEN:
            self._unwritten[drop] += 1
        if self._flush is not None:
            return
        if self._writes.take("", loop.time()):
            self._write()
        else:
            self._flush = loop.call_later(FLUSH_S, self.close)

    def add_room(self, group: MessagingGroup) -> bool:
        """Record a room without an agent; return False if its channel already has `unknown_rooms` of them."""
        now = asyncio.get_running_loop().time()
        if now < self._full_until.get(group.channel, 0.0):
            return False
        limit = self.usage.budgets.unknown_rooms
        query = (
            "SELECT count(*) FROM (SELECT 1 FROM messaging_groups m WHERE channel = ? AND NOT EXISTS"
            " (SELECT 1 FROM wirings WHERE messaging_group_id = m.id) LIMIT ?)"
        )
        if self.db.execute(query, (group.channel, limit)).get < limit and not self.usage.is_instance_full():
            add(self.db, group)
            return True
        self._full_until[group.channel] = now + LOOK_AGAIN_S
        if self._reports.take(group.channel, now):
            about = {"channel": group.channel, "limit": limit}
            log.warning("more unknown rooms are not recorded; wire or remove some", extra=about)
        return False

    def close(self) -> None:
        """Write the counts that wait."""
        if self._flush is not None:
            self._flush.cancel()
        self._flush = None
        try:
            self._write()
        except apsw.Error as error:  # a count is no accepted message, so nothing waits for it
            log.warning("dropped messages not counted", extra={"error": str(error)})

    def _write(self) -> None:
        now = clock.now_text()
        self._count = self.db.execute("SELECT count(*) FROM dropped_messages").get
        with self.db:
            for drop, count in self._unwritten.items():
                key = (drop.channel, drop.room, drop.sender, drop.reason, drop.agent_group_id)
                self.db.execute(_COUNT, (count, now, drop.sender_name, *key))
                if not self.db.changes() and self._has_room_for(drop):
                    self.db.execute(_ADD, (count, now, drop.sender_name, *key, now))
                    log.info("message dropped", extra={"reason": drop.reason, "group": drop.agent_group_id})
        self._unwritten.clear()

    def _has_room_for(self, drop: DroppedMessage) -> bool:
        limit = self.usage.budgets.refused_senders
        query = "SELECT count(*) FROM (SELECT 1 FROM dropped_messages WHERE channel = ? AND room = ? LIMIT ?)"
        recorded = self.db.execute(query, (drop.channel, drop.room, limit)).get
        if recorded < limit and self._count < ROOMS * limit and not self.usage.is_instance_full():
            self._count += 1
            return True
        if self._reports.take((drop.channel, drop.room), asyncio.get_running_loop().time()):
            about = {"channel": drop.channel, "room": drop.room, "limit": limit}
            log.warning("more refused senders of a room are not recorded", extra=about)
        return False
