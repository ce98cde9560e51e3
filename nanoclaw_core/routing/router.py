"""The router: a message from a platform becomes rows in sessions, or a recorded refusal.

Invariants kept here:
I3  `route` returns ROUTED or ACCUMULATED only after the rows are durable.
I8  The vote is asked before anything of a message is stored, also where it would only be kept as context (⚠5), and
    before a pattern sees its text.
One wiring that fails does not touch the others (⚠1).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import apsw
from attrs import asdict, evolve, frozen
from nanoclaw_wire import clock, content
from nanoclaw_wire.commands import command_of
from nanoclaw_wire.inbound import Kind, NewInbound, by_id
from nanoclaw_wire.session_files import WrongProtocol

from nanoclaw_core import logs, patterns
from nanoclaw_core.descriptors.channels import Channel
from nanoclaw_core.descriptors.messages import Address, Inbound, Outcome, Receipt
from nanoclaw_core.descriptors.votes import Admission, Vote
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import GroupId, SessionId, UserId, new_id, user_id
from nanoclaw_core.mailbox import attachments
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.patterns import SearchResult
from nanoclaw_core.permissions import Permissions
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.routing import commands, conversations, engage
from nanoclaw_core.routing.engage import Engagement
from nanoclaw_core.store import accepted, engage_patterns, messaging, sessions
from nanoclaw_core.store.accepted import Accepted
from nanoclaw_core.store.messaging import DroppedMessage, EngageMode, MessagingGroup, Wiring
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
NOBODY_WIRED = "no agent is wired to this room"


class Fate(Enum):
    """What one wiring made of a message."""

    ANSWERED = "answered"
    KEPT = "kept"
    NOT_ENGAGED = "not engaged"
    REFUSED = "refused"
    FAILED = "failed"


@frozen(kw_only=True)
class Event:
    """A message on its way through the wirings, its address and ids settled."""

    inbound: Inbound
    address: Address
    room: MessagingGroup
    user: UserId | None
    correlation_id: str
    row_id: str
    at: str


@frozen(kw_only=True)
class Router:
    """Routes messages of all channels.

    Args:
        wake: Makes sure that a sandbox runs for a session; returns at once.
        say: Sends a text of the host's own to an address.
        mend: Sets a session aside where its files are damaged, and says whether they were.
        show_typing: Tells a room that its agent is at work.
    """

    db: apsw.Connection
    plugins: Plugins
    mailbox: Mailbox
    permissions: Permissions
    attachment_bytes: int
    wake: Callable[[SessionId], None]
    say: Callable[[Address, str, str], None]
    mend: Callable[[SessionId], Awaitable[bool]]
    show_typing: Callable[[SessionId, Address], None]

    async def route(self, channel: Channel, inbound: Inbound) -> Receipt:
        """Take one message from a channel.

        Returns:
            What became of it. Malformed input is DROPPED with the reason, never an exception into the adapter.

        Raises:
            NanoclawError: It could not be made durable; the platform should contribution it again.
        """
        correlation_id = new_id("msg")
        with logs.context(correlation=correlation_id):
            problem = _problem_of(inbound)
            if problem:
                log.warning("message refused", extra={"channel": channel.name, "reason": problem})
                return Receipt(outcome=Outcome.DROPPED, reason=problem, correlation_id=correlation_id)
            address = Address(channel.name, inbound.room, inbound.thread if channel.has_threads else None)
            try:
                room = self._room(address, inbound)
                if room is None:
                    return Receipt(outcome=Outcome.IGNORED, reason=NOBODY_WIRED, correlation_id=correlation_id)
                return await self._route_in(channel, _event(channel, inbound, address, room, correlation_id))
            except apsw.Error as error:  # of the central database: a wiring's own errors do not come so far
                raise NanoclawError(f"the message could not be recorded: {error}. Offer it again") from error

    def _room(self, address: Address, inbound: Inbound) -> MessagingGroup | None:
        room = messaging.find(self.db, address.channel, address.room)
        if room is None and inbound.is_mention:
            # The first name is unadmitted, too: the operator needs it to know the room, and wires it or does not.
            name, is_group = _readable(inbound.room_name or "") or None, inbound.is_group
            made = MessagingGroup(channel=address.channel, room=address.room, name=name, is_group=is_group)
            room = messaging.add(self.db, made)
        if room is None:
            self.plugins.notify("nanoclaw_room_unknown", address=address, mentioned=False)
        return room

    async def _route_in(self, channel: Channel, event: Event) -> Receipt:
        wirings = messaging.wirings_of(self.db, event.room.id)
        if not wirings:
            return self._nobody_wired(event)
        fates: list[tuple[Fate, str]] = []
        for wiring in wirings:
            try:
                fates.append(await self._at_wiring(channel, wiring, event))
            except Exception as error:  # one wiring that fails must not touch the others (⚠1)
                log.exception("wiring failed", extra={"wiring": wiring.id, "group": wiring.agent_group_id})
                fates.append((Fate.FAILED, str(error)))
        return _receipt(event, fates)

    def _nobody_wired(self, event: Event) -> Receipt:
        if event.inbound.is_mention:
            self._drop(event, "no_agent_wired", "")
        self.plugins.notify("nanoclaw_room_unknown", address=event.address, mentioned=event.inbound.is_mention)
        outcome = Outcome.DROPPED if event.inbound.is_mention else Outcome.IGNORED
        return Receipt(outcome=outcome, reason=NOBODY_WIRED, correlation_id=event.correlation_id)

    async def _at_wiring(self, channel: Channel, wiring: Wiring, event: Event) -> tuple[Fate, str]:
        thread = event.address.thread
        sticky = wiring.engage_mode is EngageMode.MENTION_STICKY and messaging.is_sticky(self.db, wiring.id, thread)
        engagement = engage.decide(wiring, is_mention=event.inbound.is_mention, is_sticky=sticky)
        if engagement is Engagement.DROP:
            return Fate.NOT_ENGAGED, ""
        refusal = self._refusal(wiring, event, engagement)
        if refusal:
            return Fate.REFUSED, refusal
        event = self._with_room_renamed(event)
        if engagement is Engagement.BY_PATTERN:
            matches = self._pattern_matches(wiring, event.inbound.text)
            engagement = engage.decide_matched(wiring, engages=matches)
            if engagement is Engagement.DROP:
                return Fate.NOT_ENGAGED, ""
        answers = engagement is Engagement.ANSWER
        if answers and event.inbound.is_mention and wiring.engage_mode is EngageMode.MENTION_STICKY and not sticky:
            messaging.make_sticky(self.db, wiring.id, thread)
        return await self._into_session(channel, wiring, event, answers=answers)

    def _with_room_renamed(self, event: Event) -> Event:
        """Keep the room's name as the platform says it (⚠44); only an admitted message may change it (I15)."""
        name = _readable(event.inbound.room_name or "")
        if not name or name == event.room.name:
            return event
        messaging.rename(self.db, event.room.id, name)
        return evolve(event, room=evolve(event.room, name=name))

    def _pattern_matches(self, wiring: Wiring, text: str) -> bool:
        """Match an admitted message. A pattern that timed out once gets a tenth of the time from then on."""
        pattern = wiring.engage_pattern or ""
        is_slow = engage_patterns.has_timed_out(self.db, wiring.id, pattern)
        limit_s = patterns.TIME_LIMIT_AFTER_TIMEOUT_S if is_slow else patterns.TIME_LIMIT_S
        result = patterns.search(pattern, text, limit_s)
        if result is SearchResult.TIMED_OUT and not is_slow:
            engage_patterns.record_timeout(self.db, wiring.id, pattern)
            log.warning("engage pattern timed out", extra={"wiring": wiring.id, "pattern": pattern})
        return result is SearchResult.FOUND

    def _refusal(self, wiring: Wiring, event: Event, engagement: Engagement) -> str:
        admission = Admission(
            address=event.address,
            user_id=event.user,
            sender_name=event.inbound.sender_name,
            agent_group_id=wiring.agent_group_id,
            wiring_id=wiring.id,
            is_group=event.room.is_group,
            engaged=None if engagement is Engagement.BY_PATTERN else engagement is Engagement.ANSWER,
        )
        verdict = self.plugins.permits("nanoclaw_admit_message", admission=admission)
        if verdict.vote is Vote.ALLOW:
            return ""
        self._drop(event, verdict.reason, wiring.agent_group_id)
        self.plugins.notify("nanoclaw_sender_refused", admission=admission, reason=verdict.reason)
        return verdict.reason

    async def _into_session(self, channel: Channel, wiring: Wiring, event: Event, *, answers: bool) -> tuple[Fate, str]:
        gate = commands.gate(event.inbound.text)
        if gate is commands.Gate.FILTER:
            return Fate.NOT_ENGAGED, f"agents do not take {command_of(event.inbound.text)}; ask in plain words"
        if gate is commands.Gate.NEEDS_ADMIN and not self.permissions.is_admin(event.user, wiring.agent_group_id):
            denial = f"Permission denied: {command_of(event.inbound.text)} requires admin access."
            self._drop(event, "command_needs_admin", wiring.agent_group_id)
            self.say(event.address, denial, event.correlation_id)
            return Fate.REFUSED, denial
        fate = Fate.ANSWERED if answers else Fate.KEPT
        if event.inbound.message_id is not None and self._was_accepted(wiring.agent_group_id, event.row_id):
            log.info("message offered again", extra={"group": wiring.agent_group_id})
            return fate, ""
        if event.user is not None:
            messaging.upsert_user(self.db, event.user, channel.name, event.inbound.sender_name)
        mode = conversations.effective_mode(wiring, has_threads=channel.has_threads, is_group=event.room.is_group)

        def session() -> Session:
            return conversations.find_or_create(
                self.db, self.mailbox.directories, wiring.agent_group_id, event.room, mode, event.address.thread
            )

        await self._store_in(session, event, answers=answers)
        return fate, ""

    def _was_accepted(self, group_id: GroupId, row_id: str) -> bool:
        """Say whether an agent group accepted this message before; a session in use must still have it."""
        session_id = accepted.session_of(self.db, group_id, row_id)
        session = sessions.get(self.db, session_id) if session_id else None
        if session is None or session.status != "active":
            return session_id is not None
        try:
            return by_id(self.mailbox.inboxes.read(session.id), row_id) is not None
        except (apsw.Error, OSError, WrongProtocol, ValueError):
            return False  # storing it finds the same, and looks for damage

    async def _store_in(self, session: Callable[[], Session], event: Event, *, answers: bool) -> None:
        """Store it; where the session is damaged, in the fresh one that takes its place."""
        found = session()
        try:
            await self._store(found, event, answers=answers)
        except (apsw.Error, OSError, NanoclawError, WrongProtocol):
            if not await self.mend(found.id):
                raise
            await self._store(session(), event, answers=answers)

    async def _store(self, session: Session, event: Event, *, answers: bool) -> None:
        with self.mailbox.due.writing(session.id) if answers else contextlib.nullcontext():
            rooms = conversations.rooms_told(self.db, session.agent_group_id, event.room.id)
            about = conversations.addresses_of(session, event.address, rooms)
            await self.mailbox.inboxes.append(session.id, [self._row(session, event, answers=answers)], about)
        self._record_accepted(session, event)
        log.info("message routed", extra={"session": session.id, "wakes": answers})
        self.plugins.notify(
            "nanoclaw_message_routed",
            address=event.address,
            session_id=session.id,
            correlation_id=event.correlation_id,
        )
        if answers:
            self.show_typing(session.id, event.address)
            self.wake(session.id)

    def _record_accepted(self, session: Session, event: Event) -> None:
        """Record a stored message for the time after its session; until then inbound.db knows it, too."""
        if event.inbound.message_id is None:
            return
        stored = Accepted(
            agent_group_id=session.agent_group_id,
            message_id=event.row_id,
            session_id=session.id,
            channel=event.address.channel,
            room=event.address.room,
            thread=event.address.thread,
            correlation_id=event.correlation_id,
        )
        try:
            accepted.record(self.db, stored)
        except apsw.Error as error:  # the message itself is durable: its receipt must not depend on this
            log.warning("accepted message not recorded", extra={"session": session.id, "error": str(error)})

    def _row(self, session: Session, event: Event, *, answers: bool) -> NewInbound:
        files: list[dict[str, Any]] = []
        if event.inbound.attachments:
            incoming = self.mailbox.directories.layout(session.id).incoming
            limit = self.attachment_bytes
            files = attachments.store(incoming, event.row_id, event.inbound.attachments, limit_bytes=limit)
        return NewInbound(
            id=event.row_id,
            kind=Kind.CHAT,
            at=event.at,
            content=content.chat(
                _readable(event.inbound.text),
                sender_id=event.user,
                sender=_readable(event.inbound.sender_name or event.inbound.sender or ""),
                attachments=files,
                quoted=asdict(event.inbound.quoted) if event.inbound.quoted else None,
            ),
            trigger=answers,
            channel=event.address.channel,
            room=event.address.room,
            thread=event.address.thread,
            platform_message_id=event.inbound.message_id,
            correlation_id=event.correlation_id,
        )

    def _drop(self, event: Event, reason: str, group_id: str) -> None:
        log.info("message dropped", extra={"reason": reason, "group": group_id})
        drop = DroppedMessage(
            channel=event.address.channel,
            room=event.address.room,
            sender=event.inbound.sender or "",
            sender_name=event.inbound.sender_name,
            reason=reason,
            agent_group_id=group_id,
        )
        messaging.record_drop(self.db, drop)


def _receipt(event: Event, fates: list[tuple[Fate, str]]) -> Receipt:
    kinds = {fate for fate, _ in fates}
    reasons = "; ".join(dict.fromkeys(reason for _, reason in fates if reason)) or None
    taken = bool(kinds & {Fate.ANSWERED, Fate.KEPT})
    if Fate.FAILED in kinds and (event.inbound.message_id is not None or not taken):
        # Offering it again is harmless where the platform's id makes it the same message, and right where nobody has
        # it.
        raise NanoclawError(f"the message could not be stored for every agent: {reasons}")
    if taken:
        outcome = Outcome.ROUTED if Fate.ANSWERED in kinds else Outcome.ACCUMULATED
    elif kinds == {Fate.NOT_ENGAGED}:
        outcome, reasons = Outcome.IGNORED, reasons or "no agent of this room was addressed"
    else:
        outcome = Outcome.DROPPED
    return Receipt(outcome=outcome, reason=reasons, correlation_id=event.correlation_id)


def _event(channel: Channel, inbound: Inbound, address: Address, room: MessagingGroup, correlation_id: str) -> Event:
    return Event(
        inbound=inbound,
        address=address,
        room=room,
        user=user_id(channel.name, inbound.sender) if inbound.sender else None,
        correlation_id=correlation_id,
        row_id=_row_id(address, inbound.message_id),
        at=clock.to_text(inbound.at) if inbound.at else clock.now_text(),
    )


def _row_id(address: Address, message_id: str | None) -> str:
    """The same platform message always has the same row id, so that a platform may contribution it twice."""
    if message_id is None:
        return new_id("in")
    name = json.dumps([address.channel, address.room, message_id])
    return f"in-{hashlib.sha256(name.encode()).hexdigest()[:24]}"


def _problem_of(inbound: object) -> str:
    """Say what is malformed in what an adapter passed on; empty where nothing is (⚠58)."""
    if not isinstance(inbound, Inbound):
        return f"an adapter passed on {type(inbound).__name__}, not Inbound"
    if not isinstance(inbound.room, str) or not inbound.room:
        return f"the room must be a non-empty text, not {inbound.room!r}"
    if not isinstance(inbound.text, str):
        return f"the text must be a text, not {type(inbound.text).__name__}"
    for name in ("sender", "sender_name", "thread", "message_id", "room_name"):
        value = getattr(inbound, name)
        if value is not None and not isinstance(value, str):
            return f"{name} must be a text or None, not {type(value).__name__}"
    if any(not _is_utf8(part) for part in (inbound.room, inbound.thread, inbound.sender, inbound.message_id)):
        return "an id of the room, thread, sender or message is no valid Unicode"
    return ""


def _is_utf8(text: str | None) -> bool:
    return text is None or _readable(text) == text


def _readable(text: str) -> str:
    """Half characters, into which some platforms cut emoji, become question marks; no store of text takes them."""
    return text.encode("utf-8", "replace").decode("utf-8")
