"""The router: a message from a platform passes each wiring of its room, and its adapter gets one receipt.

One wiring that fails does not touch the others (⚠1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import apsw
from attrs import frozen

from nanoclaw_core import logs
from nanoclaw_core.descriptors.channels import Channel
from nanoclaw_core.descriptors.messages import Address, Inbound, Outcome, Receipt
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import new_id
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.routing import incoming
from nanoclaw_core.routing.wiring_route import WiringRoute
from nanoclaw_core.store import messaging
from nanoclaw_core.store.messaging import MessagingGroup

log = logging.getLogger(__name__)
NOT_WIRED = "no agent is wired to this room"


@frozen(kw_only=True)
class Router:
    """Routes messages of all channels."""

    db: apsw.Connection
    plugins: Plugins
    wiring_route: WiringRoute

    async def route(self, channel: Channel, inbound: Inbound) -> Receipt:
        """Route one message of a channel.

        Returns:
            The receipt. Malformed input is DROPPED with the reason, never an exception into the adapter.

        Raises:
            NanoclawError: The message is not durable; the platform should offer it again.
        """
        correlation_id = new_id("msg")
        with logs.context(correlation=correlation_id):
            problem = incoming.find_problem(inbound)
            if problem:
                log.warning("message refused", extra={"channel": channel.name, "reason": problem})
                return Receipt(outcome=Outcome.DROPPED, reason=problem, correlation_id=correlation_id)
            try:
                address = Address(channel.name, inbound.room, inbound.thread if channel.has_threads else None)
                room = messaging.find(self.db, address.channel, address.room)
                wirings = messaging.wirings_of(self.db, room.id) if room else []
                if room is None or not wirings:
                    return self._leave_unwired(channel, inbound, address, room, correlation_id)
                message = incoming.read(channel, inbound, address, room, correlation_id)
                routes = [self.wiring_route.follow(message, wiring) for wiring in wirings]
                results: Sequence[Receipt | BaseException]
                try:
                    # Side by side: otherwise a younger message to the second agent alone overtakes this one. A single
                    # agent needs no task, which would let a notice about the message overtake its receipt.
                    if len(routes) > 1:
                        results = await asyncio.gather(*routes, return_exceptions=True)
                    else:
                        results = [await routes[0]]
                except Exception as error:  # one wiring that fails does not touch the others (⚠1)
                    results = [error]
            except apsw.Error as error:  # of the central database
                raise NanoclawError(f"the message could not be recorded: {error}. Offer it again") from error
            for wiring, result in zip(wirings, results, strict=True):
                if isinstance(result, BaseException):
                    about = {"wiring": wiring.id, "group": wiring.agent_group_id}
                    log.error("wiring failed", exc_info=result, extra=about)
            return incoming.combine(message, results)

    def _leave_unwired(
        self, channel: Channel, inbound: Inbound, address: Address, room: MessagingGroup | None, correlation_id: str
    ) -> Receipt:
        """Record a mention in a room without a wiring, so that the operator can wire it."""
        outcome = Outcome.IGNORED
        if inbound.is_mention:
            if room is None:
                # The name is not admitted, but the operator needs it to know the room.
                name, is_group = incoming.readable(inbound.room_name or "") or None, inbound.is_group
                new = MessagingGroup(channel=address.channel, room=address.room, name=name, is_group=is_group)
                room = messaging.add(self.db, new)
            message = incoming.read(channel, inbound, address, room, correlation_id)
            messaging.record_drop(self.db, message.as_dropped("no_agent_wired", ""))
            outcome = Outcome.DROPPED
        self.plugins.notify("nanoclaw_room_unknown", address=address, mentioned=inbound.is_mention)
        return Receipt(outcome=outcome, reason=NOT_WIRED, correlation_id=correlation_id)
