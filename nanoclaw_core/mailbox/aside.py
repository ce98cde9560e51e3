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
from attrs import asdict, frozen
from nanoclaw_wire import clock, inbound, session_files
from nanoclaw_wire.inbound import AGENT_CHANNEL, InboundMessage, NewInbound, Routing, Status
from nanoclaw_wire.layout import INBOX

from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.inbox import Addresses
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.store import deliveries, messaging, sessions
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
MARK = ".broken-"
TRIES_AT_MOST = 5  # a message that broke so many sessions is what breaks them
_BESIDE = ("seq", "status", "tries", "process_after")  # what a row gets anew


@frozen(kw_only=True)
class Kept:
    """What could be read of a damaged session.

    Args:
        waiting: Messages that nobody answered, oldest first; None where inbound.db itself is damaged.
    """

    addresses: Addresses
    waiting: Sequence[InboundMessage] | None


@frozen(kw_only=True)
class Aside:
    """Sets sessions aside. Nothing of ours may work on one meanwhile.

    Args:
        say: Sends a text of the host's own to an address.
    """

    db: apsw.Connection
    mailbox: Mailbox
    say: Callable[[Address, str, str], None]

    async def set_aside(self, session: Session, reason: str) -> Session:
        """Put the files away, and return the fresh session with what still waits.

        Raises:
            NanoclawError, apsw.Error, OSError: It cannot be done now; the session is as it was, or its files are away
                and its conversation starts afresh with the next message.
        """
        self.mailbox.release(session.id)
        kept = self._kept(session)
        directory = _put_away(self.mailbox.directories.root, session.id)
        fresh = self._fresh(session)
        extra = {"session": session.id, "reason": reason, "files": str(directory or ""), "fresh": fresh.id}
        log.error("session set aside", extra=extra)
        self._move_attachments(directory, fresh, kept)
        given_up = await self._carry_over(fresh, kept)
        self._tell(session, kept, given_up)
        return fresh

    def _fresh(self, session: Session) -> Session:
        same = ("agent_group_id", "messaging_group_id", "thread", "conversation", "provider")
        fresh = Session(**{name: getattr(session, name) for name in same})
        with self.db:
            sessions.close(self.db, session.id)
            sessions.add(self.db, fresh)
            self.mailbox.directories.create(fresh.id)
        self.mailbox.due.settle(session.id, None)
        return fresh

    def _kept(self, session: Session) -> Kept:
        layout = self.mailbox.directories.layout(session.id)
        try:
            with contextlib.closing(session_files.open_writable(layout.inbound_db)) as db:
                addresses = Addresses(inbound.routing(db), inbound.destinations(db))
                pending = inbound.unfinished(db)
        except (apsw.Error, session_files.WrongProtocol, ValueError):
            return Kept(addresses=Addresses(self._last_routing(session)), waiting=None)
        answered = deliveries.answered(self.db, session.id, [m.correlation_id for m in pending if m.correlation_id])
        # A prompt may have held several messages, and its answer names the last; all before that one were in it, too.
        up_to = max((m.seq for m in pending if m.correlation_id in answered), default=0)
        waiting = [m for m in pending if m.seq > up_to or (m.tries and m.correlation_id not in answered)]
        return Kept(addresses=addresses, waiting=waiting)

    def _last_routing(self, session: Session) -> Routing:
        room = messaging.get(self.db, session.messaging_group_id) if session.messaging_group_id else None
        if room is not None:
            return Routing(channel=room.channel, room=room.room, thread=session.thread)
        last = deliveries.last_address(self.db, session.id)
        return Routing(channel=last.channel, room=last.room, thread=last.thread) if last else Routing()

    def _move_attachments(self, directory: Path | None, fresh: Session, kept: Kept) -> None:
        """Take along what came with messages that go along; only the host ever wrote there."""
        if directory is None:
            return
        inbox = self.mailbox.directories.layout(fresh.id).inbox
        for message in kept.waiting or ():
            folder = directory / "in" / INBOX / message.id
            if folder.is_dir():
                folder.rename(inbox / message.id)

    async def _carry_over(self, fresh: Session, kept: Kept) -> list[InboundMessage]:
        """Write what waits into the fresh session; return what is given up instead."""
        waiting = kept.waiting or ()
        given_up = [message for message in waiting if message.tries >= TRIES_AT_MOST]
        carried = [message for message in waiting if message.tries < TRIES_AT_MOST]
        if not carried:
            return given_up
        with self.mailbox.due.writing(fresh.id):
            await self.mailbox.inboxes.append(fresh.id, [_again(message) for message in carried], kept.addresses)
            now = clock.now_text()
            for message in carried:
                if message.status is Status.PENDING and message.trigger:
                    at = max(message.process_after or now, now)
                    await self.mailbox.inboxes.postpone(fresh.id, message.id, tries=message.tries + 1, process_after=at)
        return given_up

    def _tell(self, session: Session, kept: Kept, given_up: Sequence[InboundMessage]) -> None:
        """Tell the people of the conversation, in plain words (I12)."""
        routing = kept.addresses.routing
        if not routing.channel or not routing.room or routing.channel == AGENT_CHANNEL:
            return
        text = (
            "The files of this conversation were damaged. I have set them aside and start afresh, "
            "without what was said before. "
        )
        if kept.waiting is None:
            text += "If your last message was not answered, please send it again. "
        elif given_up:
            text += f"I could not answer {_counted(len(given_up))}; please put it in other words. "
        elif kept.waiting:
            text += "What you said last goes along and is answered. "
        references = (session.id, *(message.correlation_id or message.id for message in given_up))
        text += f"The operator finds the reason under this reference: {', '.join(references)}."
        self.say(Address(routing.channel, routing.room, routing.thread), text, session.id)


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
