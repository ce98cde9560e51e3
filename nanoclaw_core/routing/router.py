"""The router: a message from a platform passes each wiring of its room, and its adapter gets one receipt.

Through each wiring the steps are: engage, admit, check commands (`_admit`), store, wake (`_follow`). One wiring that
fails does not touch the others (⚠1). Invariants kept here:
I3  A receipt says ROUTED or ACCUMULATED only after the row is durable.
I4  A session is marked as due before a message that wakes its agent is written.
I8  The vote comes before anything of a message is stored, also as context (⚠5), and before a pattern sees its text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

import apsw
from attrs import evolve, frozen
from nanoclaw_wire import commands
from nanoclaw_wire.inbound import BEGINNING_OF_TIME
from nanoclaw_wire.session_files import WrongProtocol

from nanoclaw_core import logs
from nanoclaw_core.delivery.notifier import Notifier
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.descriptors.channels import Channel
from nanoclaw_core.descriptors.messages import Inbound, Outcome, Receipt
from nanoclaw_core.descriptors.votes import Admission, Vote
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import new_id
from nanoclaw_core.mailbox import attachments
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.permissions import Permissions
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.routing import conversations, duplicates, engage, incoming
from nanoclaw_core.routing.incoming import NOT_ENGAGED, IncomingMessage
from nanoclaw_core.routing.person_limits import PersonLimits
from nanoclaw_core.sandboxes.recovery import SessionRecovery
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.store import messaging
from nanoclaw_core.store.dropped import DroppedMessages
from nanoclaw_core.store.messaging import EngageMode, MessagingGroup, WiredRoom, Wiring
from nanoclaw_core.store.sessions import Session

log = logging.getLogger(__name__)
NOT_WIRED = "no agent is wired to this room"


@frozen(kw_only=True)
class Router:
    """Routes messages of all channels.

    Args:
        attachment_bytes: The maximum size of one attachment.
    """

    db: apsw.Connection
    plugins: Plugins
    mailbox: Mailbox
    permissions: Permissions
    notifier: Notifier
    typing: TypingIndicator
    supervisor: Supervisor
    recovery: SessionRecovery
    dropped: DroppedMessages
    people: PersonLimits
    attachment_bytes: int

    async def route(self, channel: Channel, inbound: Inbound) -> Receipt:
        """Route one message of a channel.

        Returns:
            The receipt. Malformed input is DROPPED with the reason, never an exception into the adapter.

        Raises:
            NanoclawError: The message is not durable; the platform should offer it again.
        """
        if problem := incoming.find_problem(inbound):
            receipt = Receipt(outcome=Outcome.DROPPED, reason=problem, correlation_id=new_id("msg"))
            about = {"channel": channel.name, "reason": problem, "correlation": receipt.correlation_id}
            log.warning("message refused", extra=about)
            return receipt
        message = incoming.read(channel, inbound)
        with logs.context(correlation=message.correlation_id):
            try:
                room = messaging.find_wired(self.db, channel.name, inbound.room, message.user, message.sender_name)
                if room is None or not room.wirings:
                    return self._leave_unwired(message, room)
                routes = [self._follow(message, room, wiring) for wiring in room.wirings]
                results: Sequence[Receipt | BaseException]
                try:
                    # A single agent needs no task, which would let a notice about the message overtake its receipt.
                    if len(routes) == 1:
                        return await routes[0]
                    # Side by side: otherwise a younger message to the second agent alone overtakes this one.
                    results = await asyncio.gather(*routes, return_exceptions=True)
                except Exception as error:  # one wiring that fails does not touch the others (⚠1)
                    results = [error]
            except apsw.Error as error:  # of the central database
                raise NanoclawError(f"the message could not be recorded: {error}. Offer it again") from error
            for wiring, result in zip(room.wirings, results, strict=True):
                if isinstance(result, BaseException):
                    about = {"wiring": wiring.id, "group": wiring.agent_group_id}
                    log.error("wiring failed", exc_info=result, extra=about)
            return incoming.combine(message, results)

    def _leave_unwired(self, message: IncomingMessage, room: WiredRoom | None) -> Receipt:
        """Record a mention in a room without a wiring, so that the operator can wire it."""
        outcome, inbound, address, is_known = Outcome.IGNORED, message.inbound, message.address, True
        if inbound.is_mention:
            if room is None:
                # The name is not admitted, but the operator needs it to know the room.
                name, is_group = message.room_name or None, inbound.is_group
                new = MessagingGroup(channel=address.channel, room=address.room, name=name, is_group=is_group)
                is_known = self.dropped.add_room(new)
            if is_known:
                self.dropped.record(message.as_dropped("no_agent_wired", ""))
            outcome = Outcome.DROPPED
        self.plugins.notify("nanoclaw_room_unknown", address=address, mentioned=inbound.is_mention)
        return Receipt(outcome=outcome, reason=NOT_WIRED, correlation_id=message.correlation_id)

    async def _follow(self, message: IncomingMessage, room: WiredRoom, wiring: Wiring) -> Receipt:
        """Route a message through one wiring.

        Raises:
            NanoclawError, OSError: The message is not stored; the platform should offer it again.
        """
        receipt = self._admit(message, room.group, wiring)
        if receipt.outcome not in (Outcome.ROUTED, Outcome.ACCUMULATED):
            return receipt
        inbound, group_id, wakes = message.inbound, wiring.agent_group_id, receipt.outcome is Outcome.ROUTED
        if message.is_identified and duplicates.was_accepted(self.db, self.mailbox, group_id, message):
            log.info("message offered again", extra={"group": group_id})
            return receipt
        is_stop = commands.command_of(inbound.text) == commands.STOP
        if not is_stop and (too_much := self.people.excess(message, group_id, wakes=wakes)):
            self.dropped.record(message.as_dropped("too_many_messages", group_id))
            return self._refuse(message, evolve(receipt, outcome=Outcome.DROPPED, reason=too_much), is_told=wakes)
        if wiring.engage_mode is EngageMode.MENTION_STICKY and inbound.is_mention:
            messaging.make_sticky(self.db, wiring.id, message.address.thread)
        if message.user is not None and not room.knows_sender:
            messaging.upsert_user(self.db, message.user, message.channel.name, message.sender_name)
        directories = self.mailbox.directories
        for is_last_try in (False, True):
            session, addresses = conversations.open_conversation(self.db, directories, message, room.group, wiring)
            try:
                if wakes and session.due_at != BEGINNING_OF_TIME:
                    self.mailbox.due.mark(session.id)
                files = []
                if inbound.attachments:
                    directory, limit = directories.layout(session.id).incoming, self.attachment_bytes
                    files = attachments.store(directory, message.row_id, inbound.attachments, limit_bytes=limit)
                await self.mailbox.inbox.append(session.id, [message.as_row(files, trigger=wakes)], addresses)
                break
            except (apsw.Error, OSError, NanoclawError, WrongProtocol):
                # The fresh session takes the message if the files of this one are damaged.
                if is_last_try or not await self.recovery.recover(session.id):
                    raise
        self.people.note_stored(message, group_id, session.id, wakes=wakes)
        self._announce(message, session, wakes=wakes)
        return receipt

    def _admit(self, message: IncomingMessage, room: MessagingGroup, wiring: Wiring) -> Receipt:
        """Admit or refuse a message, and record a refusal. ROUTED and ACCUMULATED promise that `_follow` stores it."""
        receipt = partial(Receipt, correlation_id=message.correlation_id)
        inbound, group_id, thread = message.inbound, wiring.agent_group_id, message.address.thread
        mentions_stick = wiring.engage_mode is EngageMode.MENTION_STICKY
        is_sticky = mentions_stick and messaging.is_sticky(self.db, wiring.id, thread)
        outcome = engage.decide(wiring, is_mention=inbound.is_mention, is_sticky=is_sticky)
        if outcome is Outcome.IGNORED:
            return receipt(outcome=outcome, reason=NOT_ENGAGED)

        admission = Admission(
            address=message.address,
            user_id=message.user,
            sender_name=message.sender_name,
            agent_group_id=group_id,
            wiring_id=wiring.id,
            is_group=room.is_group,
            engaged=None if outcome is None else outcome is Outcome.ROUTED,
        )
        verdict = self.plugins.permits("nanoclaw_admit_message", admission=admission)
        if verdict.vote is not Vote.ALLOW:
            self.dropped.record(message.as_dropped(verdict.reason, group_id))
            self.plugins.notify("nanoclaw_sender_refused", admission=admission, reason=verdict.reason)
            return receipt(outcome=Outcome.DROPPED, reason=verdict.reason)

        if not self.people.passes(message, group_id):
            self.dropped.record(message.as_dropped("too_many_messages", group_id))
            return receipt(outcome=Outcome.DROPPED, reason="too many messages")
        if message.room_name not in ("", room.name):  # only an admitted message renames a room (I15, ⚠44)
            messaging.rename(self.db, room.id, message.room_name)
        if outcome is None:
            outcome = engage.decide_matched(wiring, engages=engage.matches_text(self.db, wiring, inbound.text))
            if outcome is Outcome.IGNORED:
                return receipt(outcome=outcome, reason=NOT_ENGAGED)

        command = commands.command_of(inbound.text)
        if command in commands.FILTERED:
            reason = f"Agents do not take {command}. Ask in plain words."
            return self._refuse(message, receipt(outcome=Outcome.IGNORED, reason=reason))
        if command in commands.ADMIN and not self.permissions.is_admin(message.user, group_id):
            denial = f"Permission denied: {command} requires admin access."
            self.dropped.record(message.as_dropped("command_needs_admin", group_id))
            return self._refuse(message, receipt(outcome=Outcome.DROPPED, reason=denial))
        return receipt(outcome=outcome)

    def _refuse(self, message: IncomingMessage, receipt: Receipt, *, is_told: bool = True) -> Receipt:
        """Tell the writer why a message gets no answer (I13), unless it only adds context."""
        if is_told and receipt.reason and self.people.may_tell(message, receipt.reason):
            self.notifier.send_failure(message.address, receipt.reason, message.correlation_id)
        return receipt

    def _announce(self, message: IncomingMessage, session: Session, *, wakes: bool) -> None:
        """Record, log and notify that a message is stored, and wake the agent if it is to answer."""
        if message.is_identified:
            duplicates.record_accepted(self.db, session, message)
        log.info("message routed", extra={"session": session.id, "wakes": wakes})
        self.plugins.notify(
            "nanoclaw_message_routed",
            address=message.address,
            session_id=session.id,
            correlation_id=message.correlation_id,
        )
        if wakes:
            self.typing.start(session.id, message.address)
            self.supervisor.wake(session.id, person=message.user)
