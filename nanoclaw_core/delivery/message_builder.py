"""Making the message for the platform out of a stored one: files read, numbers of messages turned into platform ids."""

from __future__ import annotations

import apsw
from attrs import frozen
from nanoclaw_wire import content
from nanoclaw_wire.content import Malformed
from nanoclaw_wire.session_files import WrongProtocol

from nanoclaw_core.descriptors.messages import Outbound
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.mailbox import Mailbox
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery


@frozen(kw_only=True)
class MessageBuilder:
    """Builds messages for platforms."""

    db: apsw.Connection
    mailbox: Mailbox

    def build(self, delivery: Delivery) -> Outbound:
        """Return what the platform is to get.

        Raises:
            Malformed: It cannot be sent as it is; the message says why.
            OutboxRefused: A file cannot be had.
        """
        message = content.read_message(delivery.kind, delivery.content)
        files = []
        if message.file_names:
            if delivery.session_id is None or delivery.message_id is None:
                raise Malformed("a message without a session has no files")
            files = self.mailbox.outboxes.files(delivery.session_id, delivery.message_id, message.file_names)
        return Outbound(
            idempotency_key=delivery.id,
            text=message.text,
            files=files,
            card=message.card,
            edit_of=self._platform_id(delivery, message.edit_of),
            reaction_to=self._platform_id(delivery, message.reaction_to),
            emoji=message.emoji,
            in_reply_to=delivery.in_reply_to,
            is_failure=message.is_failure,
        )

    def clear(self, delivery: Delivery) -> None:
        """Remove the files of a message that was sent."""
        if delivery.session_id is not None and delivery.message_id is not None:
            self.mailbox.outboxes.clear(delivery.session_id, delivery.message_id)

    def _received_id(self, session_id: SessionId, seq: int) -> str | None:
        try:
            received = self.mailbox.inboxes.by_seq(session_id, seq)
        except (apsw.CorruptError, apsw.NotADBError, WrongProtocol) as error:
            raise Malformed(f"message {seq} cannot be read any more: {error}") from error
        except (apsw.CantOpenError, OSError) as error:
            if self.mailbox.directories.layout(session_id).inbound_db.exists():
                raise  # not now, for want of descriptors perhaps
            raise Malformed(f"message {seq} is of a conversation that is gone") from error
        return received.platform_message_id if received else None

    def _platform_id(self, delivery: Delivery, seq: int | None) -> str | None:
        """Turn a number into the platform's id: even ones are messages that came in, odd ones that went out (I2)."""
        if seq is None:
            return None
        if delivery.session_id is None:
            raise Malformed("a message without a session names no other message")
        if seq % 2 == 0:
            found = self._received_id(delivery.session_id, seq)
        else:
            sent = deliveries.of_message(self.db, delivery.session_id, seq)
            found = sent.platform_message_id if sent else None
        if found is None:
            raise Malformed(f"message {seq} is unknown, not delivered yet, or has no id on its platform")
        return found
