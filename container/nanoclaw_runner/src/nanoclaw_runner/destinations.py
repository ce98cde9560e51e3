"""Named addresses: which one a row came from, and which one a name means."""

from __future__ import annotations

import html
from collections.abc import Sequence

from attrs import frozen
from nanoclaw_wire.destination_names import canonical
from nanoclaw_wire.inbound import AGENT_CHANNEL, Destination, InboundMessage


@frozen(kw_only=True)
class Address:
    """A channel and a room; `agent` and a group id for another agent."""

    channel: str
    room: str


def place_of(destination: Destination) -> Address:
    """Return where a destination is."""
    if destination.kind == "agent":
        return Address(channel=AGENT_CHANNEL, room=destination.agent_group_id or "")
    return Address(channel=destination.channel or "", room=destination.room or "")


def find(destinations: Sequence[Destination], name: str) -> Destination | None:
    """Return the destination of a name, in any case and composition, as it is or as the prompt escaped it; or None."""
    wanted = {name, html.unescape(name)}
    exact = next((one for one in destinations if one.name in wanted), None)
    if exact is not None:
        return exact
    alike = {canonical(one) for one in wanted}
    return next((one for one in destinations if canonical(one.name) in alike), None)


def origin(destinations: Sequence[Destination], row: InboundMessage) -> str | None:
    """Name where a row came from: a destination, `unknown:<channel>:<room>`, or None where it has no address."""
    if row.channel is None and row.room is None:
        return None
    here = Address(channel=row.channel or "", room=row.room or "")
    named = next((destination.name for destination in destinations if place_of(destination) == here), None)
    return named or f"unknown:{here.channel}:{here.room}"


def names(destinations: Sequence[Destination]) -> str:
    """Return the names as a list for people and models: `family, work`."""
    return ", ".join(destination.name for destination in destinations)
