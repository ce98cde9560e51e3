"""Builds a platform's message from a stored one: its files and platform ids."""

from __future__ import annotations

import apsw
from attrs import frozen
from nanoclaw_wire import content, inbound
from nanoclaw_wire.content import Malformed, Message
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

    def build(self, delivery: Delivery, message: Message | None) -> Outbound:
        """Return the message for the platform.

        Args:
            delivery: The stored message.
            message: Its parsed content; None if it must be parsed again.

        Raises:
            Malformed: The stored message cannot be sent; the error says why.
            InvalidFile: A file cannot be read.
        """
        message = message or content.read_message(delivery.kind, delivery.content)
        files = []
        if message.file_names:
            if delivery.session_id is None or delivery.message_id is None:
                raise Malformed("a message without a session cannot have files")
            files = self.mailbox.outbox.files(delivery.session_id, delivery.message_id, message.file_names)
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
            self.mailbox.outbox.clear(delivery.session_id, delivery.message_id)

    def _received_id(self, session_id: SessionId, seq: int) -> str | None:
        try:
            received = inbound.by_seq(self.mailbox.inbox.read(session_id), seq)
        except (apsw.CorruptError, apsw.NotADBError, WrongProtocol) as error:
            raise Malformed(f"message {seq} can no longer be read: {error}") from error
        except (apsw.CantOpenError, OSError) as error:
            if self.mailbox.directories.layout(session_id).inbound_db.exists():
                raise  # temporary: too few file descriptors, for example
            raise Malformed(f"message {seq} belongs to a conversation that no longer exists") from error
        return received.platform_message_id if received else None

    def _platform_id(self, delivery: Delivery, seq: int | None) -> str | None:
        """Convert a message number to the platform's id.

        Inbound numbers are even, outbound numbers are odd (I2).
        """
        if seq is None:
            return None
        if delivery.session_id is None:
            raise Malformed("a message without a session cannot refer to another message")
        if seq % 2 == 0:
            platform_id = self._received_id(delivery.session_id, seq)
        else:
            sent = deliveries.of_message(self.db, delivery.session_id, seq)
            platform_id = sent.platform_message_id if sent else None
        if platform_id is None:
            raise Malformed(f"message {seq} is unknown, not delivered yet, or has no id on its platform")
        return platform_id
