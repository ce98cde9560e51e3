"""Limits for admitted people: the rate, the number and the length of their messages (I14)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from attrs import define, field
from nanoclaw_wire import inbound
from nanoclaw_wire.rates import MAX_KEYS, Rates

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.ids import GroupId, SessionId
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.mailbox.outbox import UNREADABLE
from nanoclaw_core.routing.incoming import IncomingMessage

RECOUNT_S = 10.0  # a count of many sessions takes milliseconds
TELL_S = 60.0  # between two sentences of the same reason
PASSES = 10  # times the rate: messages that may be looked at, for example by a pattern


@define
class _Person:
    sessions: dict[SessionId, None] = field(factory=dict)  # that may have waiting messages
    waiting: int = 0  # at most: the last count and the messages since then
    full_until: float = 0.0


@define(kw_only=True, eq=False)
class PersonLimits:
    """Limits the messages of each person to each agent. A message without a sender counts for its room.

    Args:
        owners: User ids of the owners.
        now: A clock in seconds that never goes back; tests pass their own.
    """

    inbox: InboxWriter
    budgets: Budgets
    owners: Collection[str]
    now: Callable[[], float] = time.monotonic
    _rates: Rates = field(init=False)
    _passes: Rates = field(init=False)
    _told: Rates = field(factory=lambda: Rates(count=1, fill_s=TELL_S), init=False)
    _people: OrderedDict[tuple[str, GroupId, bool], _Person] = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        self._rates = Rates(count=self.budgets.person_messages_per_minute, fill_s=60.0)
        self._passes = Rates(count=PASSES * self.budgets.person_messages_per_minute, fill_s=60.0)

    def passes(self, message: IncomingMessage, group_id: GroupId) -> bool:
        """Return False if a person sends so much that the host does not even look at the message."""
        return self._passes.take(_key(message, group_id, wakes=True), self.now())

    def excess(self, message: IncomingMessage, group_id: GroupId, *, wakes: bool) -> str | None:
        """Return a sentence about the limit that a message to an agent exceeds, or None.

        Messages that only add context have limits of their own, so that a lively room leaves a mention its place. An
        owner has only the rate of `passes`.
        """
        person, now, budgets = self._person(message, group_id, wakes), self.now(), self.budgets
        problem = None
        if message.user not in self.owners and not self._rates.take(_key(message, group_id, wakes=wakes), now):
            problem = f"I take {budgets.person_messages_per_minute} a minute from you. Send it again in a minute."
        elif len(message.inbound.text) > budgets.message_characters:
            problem = f"it is longer than {budgets.message_characters} characters. Send a shorter one."
        elif self._waiting(person, message, wakes, now) >= budgets.person_waiting_messages:
            problem = f"{budgets.person_waiting_messages} of yours still wait for me. Send it again after my answers."
        return f"I did not read your last message: {problem}" if problem else None

    def may_tell(self, message: IncomingMessage, text: str) -> bool:
        """Return True if the writer was not told the same in this conversation for a minute."""
        return self._told.take((message.address, message.user, text), self.now())

    def note_stored(self, message: IncomingMessage, group_id: GroupId, session_id: SessionId, *, wakes: bool) -> None:
        """Count a message that waits in a session."""
        person = self._person(message, group_id, wakes)
        person.sessions[session_id] = None
        person.waiting += 1

    def _person(self, message: IncomingMessage, group_id: GroupId, wakes: bool) -> _Person:
        key = _key(message, group_id, wakes=wakes)
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


def _key(message: IncomingMessage, group_id: GroupId, *, wakes: bool) -> tuple[str, GroupId, bool]:
    return message.user or f"{message.address.channel} {message.address.room}", group_id, wakes
