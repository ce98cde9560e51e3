"""Named addresses: the name of a row's origin, and the destination of a name."""

from __future__ import annotations

import html
from collections.abc import Sequence

from attrs import frozen
from nanoclaw_wire.destination_names import canonical
from nanoclaw_wire.inbound import AGENT_CHANNEL, Destination, InboundMessage


@frozen(kw_only=True)
class Address:
    """A channel and a room. For another agent: `agent` and the id of its group."""

    channel: str
    room: str


def address_of(destination: Destination) -> Address:
    """Return the address of a destination."""
    if destination.kind == "agent":
        return Address(channel=AGENT_CHANNEL, room=destination.agent_group_id or "")
    return Address(channel=destination.channel or "", room=destination.room or "")


def find(destinations: Sequence[Destination], name: str) -> Destination | None:
    """Return the destination of a name as written or as the prompt escaped it, else one of the same canonical name."""
    wanted = {name, html.unescape(name)}
    exact = next((destination for destination in destinations if destination.name in wanted), None)
    if exact is not None:
        return exact
    alike = {canonical(name) for name in wanted}
    return next((destination for destination in destinations if canonical(destination.name) in alike), None)


def origin(destinations: Sequence[Destination], row: InboundMessage) -> str | None:
    """Return the name of a row's origin: a destination or `unknown:<channel>:<room>`; None without an address."""
    if row.channel is None and row.room is None:
        return None
    address = Address(channel=row.channel or "", room=row.room or "")
    known = (destination.name for destination in destinations if address_of(destination) == address)
    return next(known, f"unknown:{address.channel}:{address.room}")


def names(destinations: Sequence[Destination]) -> str:
    """Return the names as a list for people and models: `family, work`."""
    return ", ".join(destination.name for destination in destinations)
