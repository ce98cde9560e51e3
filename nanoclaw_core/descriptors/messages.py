"""Messages of channels: inbound and outbound messages and their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from attrs import field, frozen
from nanoclaw_wire.content import Card as Card
from nanoclaw_wire.content import CardOption as CardOption


def _none_if_empty(text: str | None) -> str | None:
    return text or None


@frozen
class Address:
    """The room and thread of a message.

    Args:
        channel: The channel's name. The core fills it in, so that an adapter cannot use another channel's name.
        room: The platform's id of the chat. It may have any characters.
        thread: The platform's id of a thread in the room; None means the room itself.
    """

    channel: str
    room: str
    thread: str | None = None


@frozen(kw_only=True)
class Attachment:
    """A file that came with a message.

    Args:
        name: The platform's name. It may be empty or unsafe; the core makes a safe name.
        kind: `image`, `audio`, `video`, `voice`, `sticker` or `file`.
        content: The bytes, or None if only `url` is known.
        mime_type: The platform's MIME type, or None.
    """

    name: str = ""
    kind: str = "file"
    content: bytes | None = field(default=None, repr=False)
    url: str | None = None
    mime_type: str | None = None


@frozen(kw_only=True)
class Quoted:
    """The message that a message replies to, with the data that the platform provides."""

    message_id: str | None = None
    sender: str | None = None
    text: str | None = None


@frozen(kw_only=True)
class Inbound:
    """A message from a platform. Ids have at most 1 000 characters; of longer names the core keeps a short label.

    Args:
        room: The platform's id of the chat.
        text: The text; empty for a message with only files.
        sender: The platform's id of the writer, or None if the platform does not provide it.
        sender_name: The writer's display name, or None.
        thread: The platform's id of the thread, or None. An empty string becomes None (⚠55).
        message_id: The platform's id. Two messages with one id are the same message. The core generates a missing id.
        is_mention: True only if the platform reports a mention of the assistant, or in a direct conversation.
        is_group: True for a room with several people.
        room_name: The room's name. If the message is admitted, people and agents see it (⚠44).
        at: The time of the message; None means now.
    """

    room: str
    text: str = ""
    sender: str | None = None
    sender_name: str | None = None
    thread: str | None = field(default=None, converter=_none_if_empty)
    message_id: str | None = None
    attachments: Sequence[Attachment] = ()
    quoted: Quoted | None = None
    is_mention: bool = False
    is_group: bool = False
    room_name: str | None = None
    at: datetime | None = None


class Outcome(Enum):
    """The result of one inbound message. Over several wirings the first of these counts."""

    ROUTED = "routed"
    ACCUMULATED = "accumulated"
    DROPPED = "dropped"
    IGNORED = "ignored"


@frozen(kw_only=True)
class Receipt:
    """The core's answer to an adapter: the message is durable or refused.

    Args:
        outcome: ROUTED woke an agent. ACCUMULATED is kept as context for later. DROPPED was refused and recorded.
            IGNORED concerned no agent.
        reason: The reason for DROPPED and IGNORED.
        correlation_id: The id of the message in all log lines.
    """

    outcome: Outcome
    correlation_id: str
    reason: str | None = None


@frozen(kw_only=True)
class OutboundFile:
    """A file to send. `name` is one safe path component."""

    name: str
    content: bytes = field(repr=False)


@frozen(kw_only=True)
class Outbound:
    """One message to send: a text (with or without files), a card, an edit or a reaction.

    Args:
        idempotency_key: The same for every attempt, for platforms that refuse a second message with one key.
        text: The text; with `edit_of` the new text.
        edit_of: The platform id of the message to change, or None.
        reaction_to: The platform id of the message to react to, or None. `emoji` is then a shortcode.
        in_reply_to: The platform id of the answered message, or None.
        is_failure: True if it explains why the agent has not answered, yet or at all.
    """

    idempotency_key: str
    text: str = ""
    files: Sequence[OutboundFile] = ()
    card: Card | None = None
    edit_of: str | None = None
    reaction_to: str | None = None
    emoji: str | None = None
    in_reply_to: str | None = None
    is_failure: bool = False
