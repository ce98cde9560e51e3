"""The path of a message through one wiring: engage, admit, check commands, store, wake.

Invariants kept here:
I3  A receipt says ROUTED or ACCUMULATED only after the row is durable.
I8  The vote comes before anything of a message is stored, also as context (⚠5), and before a pattern sees its text.
"""

from __future__ import annotations

import contextlib
import logging

import apsw
from attrs import evolve, frozen
from nanoclaw_wire.commands import command_of
from nanoclaw_wire.session_files import WrongProtocol

from nanoclaw_core.delivery.notifier import Notifier
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.descriptors.messages import Outcome, Receipt
from nanoclaw_core.descriptors.votes import Admission, Vote
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.mailbox import attachments
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.permissions import Permissions
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.routing import commands, conversations, duplicates, engage
from nanoclaw_core.routing.incoming import IncomingMessage
from nanoclaw_core.sandboxes.recovery import SessionRecovery
from nanoclaw_core.sandboxes.supervisor import Supervisor
from nanoclaw_core.store import messaging
from nanoclaw_core.store.messaging import EngageMode, Wiring

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class WiringRoute:
    """Routes a message through one wiring.

    Args:
        attachment_bytes: Largest size of all files of a message.
    """

    db: apsw.Connection
    plugins: Plugins
    mailbox: Mailbox
    permissions: Permissions
    notifier: Notifier
    typing: TypingIndicator
    supervisor: Supervisor
    recovery: SessionRecovery
    attachment_bytes: int

    async def follow(self, message: IncomingMessage, wiring: Wiring) -> Receipt:
        """Route a message to the agent of a wiring.

        Raises:
            NanoclawError, OSError: The message is not stored; the platform should offer it again.
        """
        inbound, group_id, thread = message.inbound, wiring.agent_group_id, message.address.thread
        mentions_stick = wiring.engage_mode is EngageMode.MENTION_STICKY
        is_sticky = mentions_stick and messaging.is_sticky(self.db, wiring.id, thread)
        outcome = engage.decide(wiring, is_mention=inbound.is_mention, is_sticky=is_sticky)
        if outcome is Outcome.IGNORED:
            return message.receipt(outcome)

        admission = Admission(
            address=message.address,
            user_id=message.user,
            sender_name=inbound.sender_name,
            agent_group_id=group_id,
            wiring_id=wiring.id,
            is_group=message.room.is_group,
            engaged=None if outcome is None else outcome is Outcome.ROUTED,
        )
        verdict = self.plugins.permits("nanoclaw_admit_message", admission=admission)
        if verdict.vote is not Vote.ALLOW:
            messaging.record_drop(self.db, message.as_dropped(verdict.reason, group_id))
            self.plugins.notify("nanoclaw_sender_refused", admission=admission, reason=verdict.reason)
            return message.receipt(Outcome.DROPPED, verdict.reason)

        if message.room_name not in ("", message.room.name):  # only an admitted message renames a room (I15, ⚠44)
            messaging.rename(self.db, message.room.id, message.room_name)
            message = evolve(message, room=evolve(message.room, name=message.room_name))
        if outcome is None:
            outcome = engage.decide_matched(wiring, engages=engage.matches_text(self.db, wiring, inbound.text))
            if outcome is Outcome.IGNORED:
                return message.receipt(outcome)
        if mentions_stick and inbound.is_mention and not is_sticky:
            messaging.make_sticky(self.db, wiring.id, thread)

        command = command_of(inbound.text)
        if command in commands.FILTERED:
            return message.receipt(Outcome.IGNORED, f"agents do not take {command}; ask in plain words")
        if command in commands.ADMIN and not self.permissions.is_admin(message.user, group_id):
            denial = f"Permission denied: {command} requires admin access."
            messaging.record_drop(self.db, message.as_dropped("command_needs_admin", group_id))
            self.notifier.send_failure(message.address, denial, message.correlation_id)
            return message.receipt(Outcome.DROPPED, denial)
        return await self._store(message, wiring, outcome)

    async def _store(self, message: IncomingMessage, wiring: Wiring, outcome: Outcome) -> Receipt:
        """Store an engaged, admitted message in its session, and wake the agent if it is to answer."""
        group_id, wakes = wiring.agent_group_id, outcome is Outcome.ROUTED
        if duplicates.was_accepted(self.db, self.mailbox, group_id, message):
            log.info("message offered again", extra={"group": group_id})
            return message.receipt(outcome)
        if message.user is not None:
            messaging.upsert_user(self.db, message.user, message.channel.name, message.inbound.sender_name)
        mode = conversations.effective_mode(
            wiring, has_threads=message.channel.has_threads, is_group=message.room.is_group
        )
        for is_last_try in (False, True):
            session = conversations.find_or_create(
                self.db, self.mailbox.directories, group_id, message.room, mode, message.address.thread
            )
            try:
                with self.mailbox.due.writing(session.id) if wakes else contextlib.nullcontext():
                    rooms = conversations.named_rooms(self.db, group_id, message.room.id)
                    addresses = conversations.addresses_of(session, message.address, rooms)
                    incoming, files = self.mailbox.directories.layout(session.id).incoming, message.inbound.attachments
                    limit = self.attachment_bytes
                    stored = attachments.store(incoming, message.row_id, files, limit_bytes=limit) if files else []
                    await self.mailbox.inbox.append(session.id, [message.as_row(stored, trigger=wakes)], addresses)
                break
            except (apsw.Error, OSError, NanoclawError, WrongProtocol):
                # The fresh session takes the message if the files of this one are damaged.
                if is_last_try or not await self.recovery.recover(session.id):
                    raise
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
            self.supervisor.wake(session.id)
        return message.receipt(outcome)
