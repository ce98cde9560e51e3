"""Quarantine of damaged sessions.

The files get another name, and the conversation continues in a fresh session. Unanswered messages move to the fresh
session if they can be read. A message is dropped after MAX_TRIES failed tries of any kind, because it may be the cause.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import apsw
from attrs import asdict, evolve, frozen
from nanoclaw_wire import clock, inbound, session_files
from nanoclaw_wire.inbound import AGENT_CHANNEL, BEGINNING_OF_TIME, InboundMessage, NewInbound, Routing, Status
from nanoclaw_wire.layout import INBOX

from nanoclaw_core.delivery.notifier import Notifier
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import QUARANTINE_SUFFIX, QUARANTINE_TIME
from nanoclaw_core.mailbox.inbox import Addresses
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.sandboxes.health import MAX_TRIES
from nanoclaw_core.store import accepted, deliveries, messaging, sessions
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
MAX_NOTICE_ROOMS = 32  # rooms that get a notice of one damaged session; each costs a message to a platform
RECENT_ROWS = 1_000  # chats with older messages get no notice; reading these rows takes milliseconds
PAUSED = "This happened again, so from now on I try only once an hour, and keep your messages until then. "
_RESET_COLUMNS = ("seq", "status", "tries", "process_after")


@frozen(kw_only=True)
class SalvagedState:
    """The readable rest of a damaged session.

    Args:
        waiting: Unanswered messages, oldest first; None if inbound.db itself is damaged.
        writers: The addresses that wrote lately, the most recent first.
    """

    addresses: Addresses
    waiting: Sequence[InboundMessage] | None
    writers: Sequence[Address]


@frozen(kw_only=True)
class SessionQuarantine:
    """Quarantines sessions. No other component may use a session meanwhile."""

    db: apsw.Connection
    mailbox: Mailbox
    notifier: Notifier

    async def quarantine(self, session: Session, reason: str, *, earlier: int) -> Session:
        """Rename the files, and return a fresh session with the unanswered messages.

        The central database changes last, in one transaction with the notices to people. After a crash or an error
        before that, the session is still in use without its files. The next diagnosis finds this and sends the notices.

        `earlier` is the number of quarantines of the same conversation shortly before. People read one notice of the
        first and one of the second, which says that there is a pause now.

        Raises:
            NanoclawError, apsw.Error, OSError: The quarantine failed. The session is unchanged, or its files are
                already renamed.
        """
        self.mailbox.release(session.id)
        salvaged = self._salvage(session)
        directory = _rename_files(self.mailbox.directories.root, session.id)
        same = ("agent_group_id", "messaging_group_id", "thread", "conversation", "provider")
        fresh = Session(**{name: getattr(session, name) for name in same})
        extra = {"session": session.id, "reason": reason, "files": str(directory or ""), "fresh": fresh.id}
        log.error("session quarantined", extra=extra)
        self.mailbox.directories.create(fresh.id)
        self._move_attachments(directory, fresh, salvaged)
        salvaged, given_up = await self._carry_over(fresh, salvaged)
        with self.db:
            sessions.close(self.db, session.id)
            sessions.add(self.db, evolve(fresh, due_at=BEGINNING_OF_TIME) if salvaged.waiting else fresh)
            if salvaged.waiting is None:  # a platform that offers these messages again then gets an answer
                accepted.forget_unanswered(self.db, session.agent_group_id, session.id)
            self._notify_rooms(session, salvaged, given_up, earlier)
        self.mailbox.due.update(session.id, None)
        return fresh

    def _salvage(self, session: Session) -> SalvagedState:
        layout = self.mailbox.directories.layout(session.id)
        try:
            with contextlib.closing(session_files.open_writable(layout.inbound_db)) as db:
                addresses = Addresses(inbound.routing(db), inbound.destinations(db))
                pending = inbound.unfinished(db)
                recent = inbound.recent_addresses(db, rows=RECENT_ROWS, limit=MAX_NOTICE_ROOMS)
        except (apsw.Error, session_files.WrongProtocol, ValueError):
            return self._salvage_from_database(session)
        answered = deliveries.answered(self.db, session.id, [m.correlation_id for m in pending if m.correlation_id])
        # A prompt can hold several messages, and its answer names the last one, so all earlier ones were in it too.
        up_to = max((m.seq for m in pending if m.correlation_id in answered), default=0)
        waiting = [m for m in pending if m.seq > up_to or (m.tries and m.correlation_id not in answered)]
        return SalvagedState(addresses=addresses, waiting=waiting, writers=[Address(*values) for values in recent])

    def _salvage_from_database(self, session: Session) -> SalvagedState:
        """Salvage from the central database, because the session's inbound.db cannot be read."""
        group_id, limit = session.agent_group_id, MAX_NOTICE_ROOMS
        writers = accepted.recent_addresses(self.db, group_id, session.id, limit)
        writers += deliveries.recent_addresses(self.db, session.id, limit)
        room = messaging.get(self.db, session.messaging_group_id) if session.messaging_group_id else None
        if room is not None:
            routing = Routing(channel=room.channel, room=room.room, thread=session.thread)
        else:  # each room that shares the session may have lost a message that has no other record
            known = {(address.channel, address.room) for address in writers}
            shared = messaging.rooms_sharing(self.db, group_id, limit)
            writers += [Address(room.channel, room.room) for room in shared if (room.channel, room.room) not in known]
            last = next((address for address in writers if address.channel != AGENT_CHANNEL), None)
            routing = Routing(channel=last.channel, room=last.room, thread=last.thread) if last else Routing()
        return SalvagedState(addresses=Addresses(routing), waiting=None, writers=writers)

    def _move_attachments(self, directory: Path | None, fresh: Session, salvaged: SalvagedState) -> None:
        """Move the attachments of the unanswered messages; only the host ever wrote there."""
        if directory is None:
            return
        inbox = self.mailbox.directories.layout(fresh.id).inbox
        for message in salvaged.waiting or ():
            folder = directory / "in" / INBOX / message.id
            if folder.is_dir():
                folder.rename(inbox / message.id)

    async def _carry_over(self, fresh: Session, salvaged: SalvagedState) -> tuple[SalvagedState, list[InboundMessage]]:
        """Write the unanswered messages into the fresh session; also return the dropped ones.

        If a row cannot be stored, because the damaged file mangled it, all messages of the session are dropped.
        """
        waiting = salvaged.waiting or ()
        given_up = [message for message in waiting if message.tries >= MAX_TRIES]
        carried = [message for message in waiting if message.tries < MAX_TRIES]
        try:
            await self._write_again(fresh, carried, salvaged.addresses)
        except NanoclawError:
            log.exception("waiting messages could not be carried over", extra={"session": fresh.id})
            return evolve(salvaged, waiting=None), []
        return salvaged, given_up

    async def _write_again(self, fresh: Session, carried: Sequence[InboundMessage], addresses: Addresses) -> None:
        if not carried:
            return
        await self.mailbox.inbox.append(fresh.id, [_again(message) for message in carried], addresses)
        now = clock.now_text()
        for message in carried:
            if message.status is Status.PENDING and message.trigger:
                at = max(message.process_after or now, now)
                await self.mailbox.inbox.postpone(fresh.id, message.id, tries=message.tries + 1, process_after=at)

    def _notify_rooms(
        self, session: Session, salvaged: SalvagedState, given_up: Sequence[InboundMessage], earlier: int
    ) -> None:
        """Send a notice in plain words to each chat that wrote lately (I12)."""
        for address in _chats(salvaged):
            waiting = [row for row in salvaged.waiting or () if row.trigger and row.status is Status.PENDING]
            given_up_here = _of(given_up, address)
            if earlier > 1 and salvaged.waiting is not None and not given_up_here:
                continue
            text, references = _notice(session, _of(waiting, address), given_up_here, is_repeated=earlier > 0)
            self.notifier.send_failure(
                address, f"{text}The operator finds the reason under this reference: {references}.", session.id
            )


def _chats(salvaged: SalvagedState) -> list[Address]:
    """Return the addresses for notices: the writers' and the conversation's own."""
    chats = list(dict.fromkeys(address for address in salvaged.writers if address.channel != AGENT_CHANNEL))
    routing = salvaged.addresses.routing
    if routing.channel and routing.room and routing.channel != AGENT_CHANNEL:
        own = Address(routing.channel, routing.room, routing.thread)
        if all((chat.channel, chat.room) != (own.channel, own.room) for chat in chats):
            chats.insert(0, own)
    return chats[:MAX_NOTICE_ROOMS]


def _of(messages: Sequence[InboundMessage], address: Address) -> list[InboundMessage]:
    own = (address.channel, address.room, address.thread)
    return [message for message in messages if (message.channel, message.room, message.thread) == own]


def _notice(
    session: Session, waiting: Sequence[InboundMessage], given_up: Sequence[InboundMessage], *, is_repeated: bool
) -> tuple[str, str]:
    """Return the notice for one chat, and the references for the operator."""
    text = (
        "The files of this conversation were damaged. I have set them aside and start again, "
        "without the earlier conversation. "
    )
    if is_repeated:
        text += PAUSED
    if given_up:
        text += f"I could not answer {_counted(len(given_up))}; please use other words. "
    elif waiting:
        text += "" if is_repeated else "I will still answer your last message. "
    else:  # even if inbound.db can be read: a mangled row may name another room or wake no agent
        text += "If your last message was not answered, please send it again. "
    return text, ", ".join((session.id, *(message.correlation_id or message.id for message in given_up)))


def _counted(messages: int) -> str:
    return "your last message" if messages == 1 else f"{messages} of your messages"


def _rename_files(root: Path, session_id: SessionId) -> Path | None:
    """Rename a session's directory and return its new path; None if it does not exist."""
    name = f"{session_id}{QUARANTINE_SUFFIX}{clock.now():{QUARANTINE_TIME}}"
    try:
        (root / session_id).rename(root / name)
    except FileNotFoundError:
        return None
    return root / name


def _again(message: InboundMessage) -> NewInbound:
    values = asdict(message, recurse=False)
    return NewInbound(**{name: value for name, value in values.items() if name not in _RESET_COLUMNS})
