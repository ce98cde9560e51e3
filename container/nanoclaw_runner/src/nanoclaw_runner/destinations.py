"""Looks up destinations by name."""

from __future__ import annotations

import html
from collections.abc import Sequence

from nanoclaw_wire.destination_names import canonical
from nanoclaw_wire.inbound import Destination


def find(destinations: Sequence[Destination], name: str) -> Destination | None:
    """Return the destination of a name as written or as the prompt escaped it, else one of the same canonical name."""
    wanted = {name, html.unescape(name)}
    exact = next((destination for destination in destinations if destination.name in wanted), None)
    if exact is not None:
        return exact
    alike = {canonical(name) for name in wanted}
    return next((destination for destination in destinations if canonical(destination.name) in alike), None)


def names(destinations: Sequence[Destination]) -> str:
    """Return the names as a list for people and models: `family, work`."""
    return ", ".join(destination.name for destination in destinations)
