"""Setting a damaged session aside: its files are kept under another name, and the conversation goes on in a fresh one.

What still waits for an answer goes along, as far as it can be read; what breaks its session each time is given up.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import apsw
from attrs import asdict, evolve, frozen
from nanoclaw_wire import clock, inbound, session_files
from nanoclaw_wire.inbound import AGENT_CHANNEL, BEGINNING_OF_TIME, InboundMessage, NewInbound, Routing, Status
from nanoclaw_wire.layout import INBOX

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.inbox import Addresses
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.store import accepted, deliveries, messaging, sessions
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
MARK = ".broken-"
TRIES_AT_MOST = 5  # a message that broke so many sessions is what breaks them
MAX_ROOMS_TOLD = 32  # rooms that hear of one damaged session; each is a message to a platform
RECENT_ROWS = 1_000  # a chat whose message is further back is not told: a look at so many takes milliseconds
_BESIDE = ("seq", "status", "tries", "process_after")  # what a row gets anew


@frozen(kw_only=True)
class Kept:
    """What could be read of a damaged session.

    Args:
        waiting: Messages that nobody answered, oldest first; None where inbound.db itself is damaged.
        writers: The addresses that wrote lately, the most recent first.
    """

    addresses: Addresses
    waiting: Sequence[InboundMessage] | None
    writers: Sequence[Address]


@frozen(kw_only=True)
class SessionQuarantine:
    """Sets sessions aside. Nothing of ours may work on one meanwhile.

    Args:
        say: Sends a text of the host's own to an address.
    """

    db: apsw.Connection
    mailbox: Mailbox
    say: Callable[[Address, str, str], None]

    async def set_aside(self, session: Session, reason: str) -> Session:
        """Put the files away, and return the fresh session with what still waits.

        The central database changes last and in one transaction, with the notices to people. After a crash or an error
        before that the session is in use without its files: the next look finds that, and people are told then.

        Raises:
            NanoclawError, apsw.Error, OSError: It cannot be done now. The session is as it was, or its files are away.
        """
        self.mailbox.release(session.id)
        kept = self._kept(session)
        directory = _put_away(self.mailbox.directories.root, session.id)
        same = ("agent_group_id", "messaging_group_id", "thread", "conversation", "provider")
        fresh = Session(**{name: getattr(session, name) for name in same})
        extra = {"session": session.id, "reason": reason, "files": str(directory or ""), "fresh": fresh.id}
        log.error("session set aside", extra=extra)
        self.mailbox.directories.create(fresh.id)
        self._move_attachments(directory, fresh, kept)
        kept, given_up = await self._carry_over(fresh, kept)
        with self.db:
            sessions.close(self.db, session.id)
            sessions.add(self.db, evolve(fresh, due_at=BEGINNING_OF_TIME) if kept.waiting else fresh)
            if kept.waiting is None:  # who offers them again gets them answered
                accepted.forget_unanswered(self.db, session.agent_group_id, session.id)
            self._tell(session, kept, given_up)
        self.mailbox.due.settle(session.id, None)
        return fresh

    def _kept(self, session: Session) -> Kept:
        layout = self.mailbox.directories.layout(session.id)
        try:
            with contextlib.closing(session_files.open_writable(layout.inbound_db)) as db:
                addresses = Addresses(inbound.routing(db), inbound.destinations(db))
                pending = inbound.unfinished(db)
                wrote = inbound.recent_addresses(db, rows=RECENT_ROWS, limit=MAX_ROOMS_TOLD)
        except (apsw.Error, session_files.WrongProtocol, ValueError):
            return self._kept_elsewhere(session)
        answered = deliveries.answered(self.db, session.id, [m.correlation_id for m in pending if m.correlation_id])
        # A prompt may have held several messages, and its answer names the last; all before that one were in it, too.
        up_to = max((m.seq for m in pending if m.correlation_id in answered), default=0)
        waiting = [m for m in pending if m.seq > up_to or (m.tries and m.correlation_id not in answered)]
        return Kept(addresses=addresses, waiting=waiting, writers=[Address(*found) for found in wrote])

    def _kept_elsewhere(self, session: Session) -> Kept:
        """Return what the central database knows of a session whose inbound.db cannot be read."""
        group_id, limit = session.agent_group_id, MAX_ROOMS_TOLD
        writers = accepted.recent_addresses(self.db, group_id, session.id, limit)
        writers += deliveries.recent_addresses(self.db, session.id, limit)
        room = messaging.get(self.db, session.messaging_group_id) if session.messaging_group_id else None
        if room is not None:
            routing = Routing(channel=room.channel, room=room.room, thread=session.thread)
        else:  # each room that shares the session may have lost a message that nothing else recorded
            known = {(one.channel, one.room) for one in writers}
            shared = messaging.rooms_sharing(self.db, group_id, limit)
            writers += [Address(one.channel, one.room) for one in shared if (one.channel, one.room) not in known]
            last = next((one for one in writers if one.channel != AGENT_CHANNEL), None)
            routing = Routing(channel=last.channel, room=last.room, thread=last.thread) if last else Routing()
        return Kept(addresses=Addresses(routing), waiting=None, writers=writers)

    def _move_attachments(self, directory: Path | None, fresh: Session, kept: Kept) -> None:
        """Take along what came with messages that go along; only the host ever wrote there."""
        if directory is None:
            return
        inbox = self.mailbox.directories.layout(fresh.id).inbox
        for message in kept.waiting or ():
            folder = directory / "in" / INBOX / message.id
            if folder.is_dir():
                folder.rename(inbox / message.id)

    async def _carry_over(self, fresh: Session, kept: Kept) -> tuple[Kept, list[InboundMessage]]:
        """Write what waits into the fresh session; return what is kept, and what is given up instead.

        If a row cannot be stored, because the damaged file mangled it, nothing of the session waits any more.
        """
        waiting = kept.waiting or ()
        given_up = [message for message in waiting if message.tries >= TRIES_AT_MOST]
        carried = [message for message in waiting if message.tries < TRIES_AT_MOST]
        try:
            await self._write_again(fresh, carried, kept.addresses)
        except NanoclawError:
            log.exception("waiting messages could not be carried over", extra={"session": fresh.id})
            return evolve(kept, waiting=None), []
        return kept, given_up

    async def _write_again(self, fresh: Session, carried: Sequence[InboundMessage], addresses: Addresses) -> None:
        if not carried:
            return
        await self.mailbox.inboxes.append(fresh.id, [_again(message) for message in carried], addresses)
        now = clock.now_text()
        for message in carried:
            if message.status is Status.PENDING and message.trigger:
                at = max(message.process_after or now, now)
                await self.mailbox.inboxes.postpone(fresh.id, message.id, tries=message.tries + 1, process_after=at)

    def _tell(self, session: Session, kept: Kept, given_up: Sequence[InboundMessage]) -> None:
        """Tell the people of each chat that wrote lately, in plain words (I12)."""
        for address in _chats(kept):
            waiting = [one for one in kept.waiting or () if one.trigger and one.status is Status.PENDING]
            text, references = _notice(session, _of(waiting, address), _of(given_up, address))
            self.say(address, f"{text}The operator finds the reason under this reference: {references}.", session.id)


def _chats(kept: Kept) -> list[Address]:
    """Return the addresses to tell: those that wrote, and the conversation's own if its room is not among them."""
    found = list(dict.fromkeys(one for one in kept.writers if one.channel != AGENT_CHANNEL))
    routing = kept.addresses.routing
    if routing.channel and routing.room and routing.channel != AGENT_CHANNEL:
        own = Address(routing.channel, routing.room, routing.thread)
        if all((one.channel, one.room) != (own.channel, own.room) for one in found):
            found.insert(0, own)
    return found[:MAX_ROOMS_TOLD]


def _of(messages: Sequence[InboundMessage], address: Address) -> list[InboundMessage]:
    own = (address.channel, address.room, address.thread)
    return [message for message in messages if (message.channel, message.room, message.thread) == own]


def _notice(session: Session, waiting: Sequence[InboundMessage], given_up: Sequence[InboundMessage]) -> tuple[str, str]:
    """Return what one chat reads of its own messages, and the references."""
    text = (
        "The files of this conversation were damaged. I have set them aside and start afresh, "
        "without what was said before. "
    )
    if given_up:
        text += f"I could not answer {_counted(len(given_up))}; please put it in other words. "
    elif waiting:
        text += "What you said last goes along and is answered. "
    else:  # also where inbound.db can be read: a row that says another room, or wakes nobody, may be mangled
        text += "If your last message was not answered, please send it again. "
    return text, ", ".join((session.id, *(message.correlation_id or message.id for message in given_up)))


def _counted(messages: int) -> str:
    return "your last message" if messages == 1 else f"{messages} of your messages"


def _put_away(root: Path, session_id: SessionId) -> Path | None:
    """Rename a session's directory; None where there is none."""
    name = f"{session_id}{MARK}{_stamp(clock.now())}"
    try:
        (root / session_id).rename(root / name)
    except FileNotFoundError:
        return None
    return root / name


def _stamp(at: datetime) -> str:
    return at.strftime("%Y%m%dT%H%M%SZ")


def _again(message: InboundMessage) -> NewInbound:
    return NewInbound(**{name: value for name, value in asdict(message, recurse=False).items() if name not in _BESIDE})
