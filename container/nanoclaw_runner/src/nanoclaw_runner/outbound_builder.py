"""Addresses what the runner sends: replies of the turn that is being answered, and words about a message (⚠8, ⚠11)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.inbound import AGENT_CHANNEL, Destination, InboundMessage, Kind
from nanoclaw_wire.outbound import NewOutbound, OutKind

from nanoclaw_runner import content
from nanoclaw_runner.destinations import Address, place_of
from nanoclaw_runner.inbox import Inbox


@frozen(kw_only=True)
class Target:
    """Where a message goes, and what it answers."""

    channel: str | None
    room: str | None
    thread: str | None
    in_reply_to: str | None


class OutboundBuilder:
    """Makes outbound messages.

    Args:
        answering: Returns the rows that the running turn has taken in so far, oldest first.
    """

    def __init__(self, inbox: Inbox, answering: Callable[[], Sequence[InboundMessage]]) -> None:
        self._inbox, self._answering = inbox, answering

    def to(self, destination: Destination, text: str, answered: Sequence[InboundMessage]) -> NewOutbound:
        """Address words to a destination.

        Args:
            answered: The rows that the turn answered, oldest first.
        """
        return words(self._target(place_of(destination), answered), text)

    def home(self) -> Address | None:
        """Return where a message goes that names nobody: the current turn's room, else the session's own."""
        row = next((row for row in reversed(self._answering()) if row.channel and row.room), None)
        if row is not None:
            return Address(channel=row.channel or "", room=row.room or "")
        routing = self._inbox.routing()
        return Address(channel=routing.channel, room=routing.room) if routing.channel and routing.room else None

    def to_place(self, place: Address, values: dict[str, Any], message_id: str | None = None) -> NewOutbound:
        """Address a message to a room, from within the current turn."""
        return chat(self._target(place, self._answering()), values, message_id)

    def in_reply_to(self) -> str | None:
        """Return the id of the newest row that the running turn has taken in; None if it answers none."""
        rows = self._answering()
        return rows[-1].id if rows else None

    def _target(self, place: Address, answered: Sequence[InboundMessage]) -> Target:
        """Take thread and in_reply_to from the turn's newest row of that room, else from the room's most recent row."""
        own = (row for row in reversed(answered) if (row.channel, row.room) == (place.channel, place.room))
        row = next(own, None)
        row = row or self._inbox.latest_from(place.channel, place.room)
        if row is not None:
            return target_of(row)
        routing = self._inbox.routing()
        is_own = (routing.channel, routing.room) == (place.channel, place.room)
        return Target(
            channel=place.channel,
            room=place.room,
            thread=routing.thread if is_own else None,
            in_reply_to=answered[-1].id if answered else None,
        )


def chat(target: Target, values: dict[str, Any], message_id: str | None = None) -> NewOutbound:
    """Make a chat message; `values` is its content."""
    return NewOutbound(
        id=message_id or new_message_id(),
        kind=OutKind.CHAT,
        at=clock.now_text(),
        content=json.dumps(values, ensure_ascii=False),
        in_reply_to=target.in_reply_to,
        channel=target.channel,
        room=target.room,
        thread=target.thread,
    )


def words(target: Target, text: str) -> NewOutbound:
    """Make a chat message of text alone."""
    return chat(target, {"text": content.sendable(text)})


def failure(rows: Sequence[InboundMessage], text: str) -> list[NewOutbound]:
    """Tell the people who wait for an answer to these rows why there is none, so far or for good."""
    return [chat(target, {"text": text, "is_failure": True}) for target in human_conversations(rows)]


def action(name: str, request_id: str, arguments: dict[str, Any], in_reply_to: str | None) -> NewOutbound:
    """Make a request to the host."""
    return NewOutbound(
        id=new_message_id(),
        kind=OutKind.ACTION,
        at=clock.now_text(),
        content=json.dumps({"action": name, "request_id": request_id, "arguments": arguments}, ensure_ascii=False),
        in_reply_to=in_reply_to,
    )


def target_of(row: InboundMessage) -> Target:
    """Return the conversation a row came from."""
    return Target(channel=row.channel, room=row.room, thread=row.thread, in_reply_to=row.id)


def human_conversations(rows: Sequence[InboundMessage]) -> list[Target]:
    """Return the conversations of people who wait for an answer to these rows, each once, as their newest row has it.

    Another agent is nobody who waits: what goes wrong is never told to one (⚠47), nor to a note without an address.
    """
    found: dict[tuple[str | None, ...], Target] = {}
    for row in rows:
        if row.trigger and row.kind is not Kind.SYSTEM and row.channel not in (None, AGENT_CHANNEL) and row.room:
            found[(row.channel, row.room, row.thread)] = target_of(row)
    return list(found.values())


def new_message_id() -> str:
    """Return `msg-` and 16 random hex digits."""
    return f"msg-{secrets.token_hex(8)}"
