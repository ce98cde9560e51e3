"""The host's own messages: to people by delivery queues, to agents by inbox."""

from __future__ import annotations

import json
import logging

import apsw
from attrs import frozen
from nanoclaw_wire import clock, content
from nanoclaw_wire.inbound import AGENT_CHANNEL, InboundMessage, Kind, NewInbound

from nanoclaw_core.delivery.queues import DeliveryQueues
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import DeliveryId, SessionId, new_id
from nanoclaw_core.mailbox.inbox import InboxWriter
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.connection import central
from nanoclaw_core.store.deliveries import Delivery

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Notifier:
    """Sends the host's own messages."""

    db: apsw.Connection
    queues: DeliveryQueues
    inbox: InboxWriter

    def send_failure(self, address: Address, text: str, correlation_id: str, *, dedup_key: str | None = None) -> None:
        """Send people a failure message.

        Send none to agents: an error in a chat of agents loops (I12, ⚠47).

        A message with a `dedup_key` is sent once per key, even after a crash.

        Raises:
            CentralDatabaseFailed: Nothing was queued.
        """
        if address.channel == AGENT_CHANNEL:
            log.warning("failure message not sent to an agent", extra={"room": address.room})
            return
        delivery_id = DeliveryId(f"dlv-{dedup_key}" if dedup_key else new_id("dlv"))
        with central(), self.db:
            if dedup_key and deliveries.get(self.db, delivery_id) is not None:
                return
            delivery = Delivery(
                id=delivery_id,
                position=deliveries.next_position(self.db),
                channel=address.channel,
                room=address.room,
                thread=address.thread,
                kind="chat",
                content=json.dumps({"text": text, "is_failure": True}),
                correlation_id=correlation_id,
            )
            deliveries.add(self.db, [delivery])
        self.queues.put([delivery])

    def reply_failure(self, message: InboundMessage, text: str, *, dedup_key: str | None = None) -> None:
        """Send a failure message to the chat of a message; do nothing if it came from no chat."""
        if message.channel and message.room:
            address = Address(message.channel, message.room, message.thread)
            self.send_failure(address, text, message.correlation_id or message.id, dedup_key=dedup_key)

    async def leave_note(self, session_id: SessionId, text: str) -> None:
        """Leave a note for the agent without waking it.

        The agent reads it with the next message, so it cannot cause a loop.
        """
        try:
            await self.inbox.append(session_id, [note_row(text, wakes=False)])
        except NanoclawError as error:
            log.warning("note not stored", extra={"session": session_id, "error": str(error)})


def note_row(text: str, *, wakes: bool, on_wake: bool = False) -> NewInbound:
    """Return a note of the host to an agent, as a row of its inbox.

    Args:
        text: The note.
        wakes: True if the agent must read it now.
        on_wake: True if only a fresh runner may read it (I5).
    """
    return NewInbound(
        id=new_id("note"),
        kind=Kind.CHAT,
        at=clock.now_text(),
        content=content.chat(text, sender="nanoclaw", sender_id="host"),
        trigger=wakes,
        on_wake=on_wake,
    )
