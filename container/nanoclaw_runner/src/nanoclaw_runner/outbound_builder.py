"""Builds outbound messages: replies of the turn that ended, messages of tools, and notices about a row (⚠8, ⚠11)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.inbound import AGENT_CHANNEL, InboundMessage, Kind, RoomAddress
from nanoclaw_wire.outbound import MAX_TEXT_CHARACTERS, NewOutbound, OutKind

from nanoclaw_runner.content import clean
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.pending_prompts import PendingPrompts, rows_of
from nanoclaw_runner.replies import Block

CUT_OFF = "\n[cut off here: the message was too long]"


@frozen(kw_only=True)
class ReplyTarget:
    """The conversation that a message goes to, and the id of the row that it answers."""

    channel: str | None
    room: str | None
    thread: str | None
    in_reply_to: str | None


class OutboundBuilder:
    """Builds messages that answer a turn.

    Args:
        pending: Knows the rows that the running turn has taken in.
    """

    def __init__(self, inbox: Inbox, pending: PendingPrompts) -> None:
        self._inbox, self._pending = inbox, pending

    def replies(self, blocks: Sequence[Block], answered: Sequence[InboundMessage]) -> list[NewOutbound]:
        """Build one message for each block of a clean text.

        `answered` has the rows that the turn answered, oldest first.
        """
        return [text_message(self._target(block.destination.address, answered), block.body) for block in blocks]

    def current_address(self) -> RoomAddress | None:
        """Return the room that the running turn answers, else the session's own; None if neither is known."""
        row = next((row for row in reversed(self._answering()) if row.channel and row.room), None)
        if row is not None:
            return RoomAddress(channel=row.channel or "", room=row.room or "")
        routing = self._inbox.routing()
        return RoomAddress(channel=routing.channel, room=routing.room) if routing.channel and routing.room else None

    def message(self, address: RoomAddress, values: dict[str, Any], message_id: str | None = None) -> NewOutbound:
        """Build a chat message of the running turn; see `chat_message`."""
        return chat_message(self._target(address, self._answering()), values, message_id)

    def in_reply_to(self) -> str | None:
        """Return the id of the newest row that the running turn has taken in; None if it answers none."""
        rows = self._answering()
        return rows[-1].id if rows else None

    def _answering(self) -> Sequence[InboundMessage]:
        return rows_of(self._pending.answering)

    def _target(self, address: RoomAddress, answered: Sequence[InboundMessage]) -> ReplyTarget:
        """Take thread and in_reply_to from the turn's newest row of that room, else from the room's most recent row."""
        own = (row for row in reversed(answered) if (row.channel, row.room) == (address.channel, address.room))
        row = next(own, None) or self._inbox.latest_from(address.channel, address.room)
        if row is not None:
            return target_of(row)
        routing = self._inbox.routing()
        is_own = (routing.channel, routing.room) == (address.channel, address.room)
        return ReplyTarget(
            channel=address.channel,
            room=address.room,
            thread=routing.thread if is_own else None,
            in_reply_to=answered[-1].id if answered else None,
        )


def chat_message(target: ReplyTarget, values: dict[str, Any], message_id: str | None = None) -> NewOutbound:
    """Build a chat message with `values` as its content. It gets a new id if `message_id` is None."""
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


def text_message(target: ReplyTarget, text: str) -> NewOutbound:
    """Build a chat message of a clean text alone."""
    return chat_message(target, {"text": _shortened(text)})


def failure_messages(rows: Sequence[InboundMessage], text: str) -> list[NewOutbound]:
    """Build messages that explain to the people who wrote these rows why they have no answer, or none yet."""
    return [chat_message(target, {"text": text, "is_failure": True}) for target in human_conversations(rows)]


def action_message(name: str, request_id: str, arguments: dict[str, Any], in_reply_to: str | None) -> NewOutbound:
    """Build a request to the host."""
    return NewOutbound(
        id=new_message_id(),
        kind=OutKind.ACTION,
        at=clock.now_text(),
        content=json.dumps({"action": name, "request_id": request_id, "arguments": arguments}, ensure_ascii=False),
        in_reply_to=in_reply_to,
    )


def sendable(text: str) -> str:
    """Return a text that the host accepts: clean, and cut off at the maximum length of a message."""
    return _shortened(clean(text))


def target_of(row: InboundMessage) -> ReplyTarget:
    """Return the conversation that a row came from."""
    return ReplyTarget(channel=row.channel, room=row.room, thread=row.thread, in_reply_to=row.id)


def human_conversations(rows: Sequence[InboundMessage]) -> list[ReplyTarget]:
    """Return the conversations of people who wait for an answer to these rows, each once, with its newest row.

    It omits other agents, which never read of an error (⚠47), and rows without an address.
    """
    targets: dict[tuple[str | None, ...], ReplyTarget] = {}
    for row in rows:
        if row.trigger and row.kind is not Kind.SYSTEM and row.channel not in (None, AGENT_CHANNEL) and row.room:
            targets[(row.channel, row.room, row.thread)] = target_of(row)
    return list(targets.values())


def new_message_id() -> str:
    """Return `msg-` and 16 random hex digits."""
    return f"msg-{secrets.token_hex(8)}"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - len(CUT_OFF)] + CUT_OFF
