"""What the host itself says: to people, through the same lanes as everybody, and to agents, in their inbox."""

from __future__ import annotations

import json
import logging

import apsw
from attrs import frozen
from nanoclaw_wire import clock, content
from nanoclaw_wire.inbound import AGENT_CHANNEL, InboundMessage, Kind, NewInbound

from nanoclaw_core.delivery.lanes import Lanes
from nanoclaw_core.descriptors.messages import Address
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import DeliveryId, SessionId, new_id
from nanoclaw_core.mailbox.inbox import Inboxes
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.connection import central
from nanoclaw_core.store.deliveries import Delivery

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Voice:
    """Speaks for the host."""

    db: apsw.Connection
    lanes: Lanes
    inboxes: Inboxes

    def say(self, address: Address, text: str, correlation_id: str, *, once_as: str | None = None) -> None:
        """Tell people what went wrong. Never another agent: an error that travels as chat comes back (I12, ⚠47).

        Args:
            once_as: A name for what is said, under which it is said only once, whatever crash comes in between.

        Raises:
            CentralDatabaseFailed: Nothing was said.
        """
        if address.channel == AGENT_CHANNEL:
            log.warning("nothing said to an agent", extra={"room": address.room})
            return
        delivery_id = DeliveryId(f"dlv-{once_as}" if once_as else new_id("dlv"))
        now = clock.now_text()
        with central(), self.db:
            if once_as and deliveries.get(self.db, delivery_id) is not None:
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
                created_at=now,
                updated_at=now,
            )
            deliveries.add(self.db, [delivery])
        self.lanes.put([delivery])

    def answer(self, message: InboundMessage, text: str, *, once_as: str | None = None) -> None:
        """Tell the people of the conversation that a message belongs to; nobody where it came from no chat."""
        if message.channel and message.room:
            address = Address(message.channel, message.room, message.thread)
            self.say(address, text, message.correlation_id or message.id, once_as=once_as)

    async def note(self, session_id: SessionId, text: str) -> None:
        """Leave a note for the agent. It wakes nobody and is read with the next message, so it cannot loop."""
        try:
            await self.inboxes.append(session_id, [note_row(text, wakes=False)])
        except NanoclawError as error:
            log.warning("note not stored", extra={"session": session_id, "error": str(error)})


def note_row(text: str, *, wakes: bool, on_wake: bool = False) -> NewInbound:
    """Return what the host itself says to an agent, as a row of its inbox.

    Args:
        wakes: True where the agent is to read it now.
        on_wake: True where it is for a fresh runner (I5).
    """
    return NewInbound(
        id=new_id("note"),
        kind=Kind.CHAT,
        at=clock.now_text(),
        content=content.chat(text, sender="nanoclaw", sender_id="host"),
        trigger=wakes,
        on_wake=on_wake,
    )
