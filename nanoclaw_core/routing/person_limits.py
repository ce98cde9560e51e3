"""Limits for admitted people: the rate, the number and the length of their messages (I14)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field, frozen
from nanoclaw_wire import inbound
from nanoclaw_wire.rates import MAX_KEYS, Rates

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.ids import GroupId, SessionId
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.mailbox.outbox import UNREADABLE
from nanoclaw_core.routing.incoming import IncomingMessage

RECOUNT_S = 10.0  # a count of many sessions takes milliseconds
TOLD_AGAIN_S = 60.0  # after the last refused message


@frozen
class TooMuch:
    """The limit that a message exceeds.

    Args:
        reason: The reason for the person, with a remedy.
        is_first: True if the person was not told for a while.
    """

    reason: str
    is_first: bool


@define
class _Person:
    sessions: dict[SessionId, None] = field(factory=dict)  # that may have waiting messages
    waiting: int = 0  # at most: the last count and the messages since then
    full_until: float = 0.0
    told_until: float = 0.0


@define(kw_only=True, eq=False)
class PersonLimits:
    """Limits the messages of each person to each agent. A message without a sender counts for its room.

    Args:
        now: A clock in seconds that never goes back; tests pass their own.
    """

    inbox: InboxWriter
    budgets: Budgets
    now: Callable[[], float] = time.monotonic
    _rates: Rates = field(init=False)
    _people: OrderedDict[tuple[str, GroupId, bool], _Person] = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        self._rates = Rates(count=self.budgets.person_messages_per_minute, per_s=60.0)

    def excess(self, message: IncomingMessage, group_id: GroupId, *, wakes: bool) -> TooMuch | None:
        """Return the limit that a message to an agent exceeds, or None.

        Messages that only add context have limits of their own, so that a lively room leaves a mention its place.
        """
        person, now, budgets = self._person(message, group_id, wakes), self.now(), self.budgets
        length, problem = len(message.inbound.text), None
        if length > budgets.message_characters:
            problem = f"it has {length} characters, and I take {budgets.message_characters}. Send a shorter one."
        elif not self._rates.take(_key(message, group_id, wakes), now):
            problem = f"I take {budgets.person_messages_per_minute} a minute from you. Send it again in a minute."
        elif self._waiting(person, message, wakes, now) >= budgets.person_waiting_messages:
            problem = f"{budgets.person_waiting_messages} of yours still wait for me. Send it again after my answers."
        if problem is None:
            return None
        is_first, person.told_until = now >= person.told_until, now + TOLD_AGAIN_S
        return TooMuch(f"I did not read your last message: {problem}", is_first)

    def note_stored(self, message: IncomingMessage, group_id: GroupId, session_id: SessionId, *, wakes: bool) -> None:
        """Count a message that waits in a session."""
        person = self._person(message, group_id, wakes)
        person.sessions[session_id] = None
        person.waiting += 1

    def _person(self, message: IncomingMessage, group_id: GroupId, wakes: bool) -> _Person:
        key = _key(message, group_id, wakes)
        person = self._people.setdefault(key, _Person())
        self._people.move_to_end(key)
        if len(self._people) > MAX_KEYS:
            self._people.popitem(last=False)
        return person

    def _waiting(self, person: _Person, message: IncomingMessage, wakes: bool, now: float) -> int:
        limit = self.budgets.person_waiting_messages
        if person.waiting >= limit and now >= person.full_until:
            person.waiting = 0
            for session_id in list(person.sessions):
                try:
                    db = self.inbox.read(session_id)
                    count = inbound.count_waiting(db, message.user, trigger=wakes, limit=limit)
                except UNREADABLE:
                    count = 0  # its recovery handles it
                person.waiting += count
                if not count:
                    del person.sessions[session_id]
            person.full_until = now + RECOUNT_S if person.waiting >= limit else 0.0
        return person.waiting


def _key(message: IncomingMessage, group_id: GroupId, wakes: bool) -> tuple[str, GroupId, bool]:
    return message.user or f"{message.address.channel} {message.address.room}", group_id, wakes
