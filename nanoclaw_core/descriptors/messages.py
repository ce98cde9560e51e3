"""Messages as channels see them: what comes in, what goes out, and where."""

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
    """Where a message belongs.

    Args:
        channel: The channel's name; filled in by the core, so an adapter cannot speak for another channel.
        room: The platform's id of the chat; data, whatever characters it has.
        thread: The platform's id of a thread in it, or None. An empty text is None (⚠55).
    """

    channel: str
    room: str
    thread: str | None = field(default=None, converter=_none_if_empty)


@frozen(kw_only=True)
class Attachment:
    """A file that came with a message.

    Args:
        name: As the platform calls it; may be empty or unsafe, the core makes a safe one.
        kind: `image`, `audio`, `video`, `voice`, `sticker` or `file`.
        content: The bytes, or None where only `url` is known.
        mime_type: As the platform says, or None.
    """

    name: str = ""
    kind: str = "file"
    content: bytes | None = field(default=None, repr=False)
    url: str | None = None
    mime_type: str | None = None


@frozen(kw_only=True)
class Quoted:
    """The message a message replies to; whatever of it the platform tells."""

    message_id: str | None = None
    sender: str | None = None
    text: str | None = None


@frozen(kw_only=True)
class Inbound:
    """What an adapter passes on.

    Args:
        room: The platform's id of the chat.
        text: What was said; empty where only files came.
        sender: The platform's id of the writer, or None where it cannot say.
        sender_name: How people call the writer, or None.
        thread: The platform's id of the thread, or None.
        message_id: The platform's id; the same id twice is the same message. None makes one.
        is_mention: True only where the platform says that the assistant was addressed, or in a direct conversation.
        is_group: True for a room of several people.
        room_name: The room's name; if the message is admitted, people and agents see it (⚠44).
        at: When it was said; None is now.
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
    """What became of one inbound message, over all wirings."""

    ROUTED = "routed"
    ACCUMULATED = "accumulated"
    DROPPED = "dropped"
    IGNORED = "ignored"


@frozen(kw_only=True)
class Receipt:
    """The core's answer to an adapter: the message is durable, or was turned down.

    Args:
        outcome: ROUTED woke an agent, ACCUMULATED is context for later, DROPPED was refused and recorded, IGNORED
            concerned no agent.
        reason: Why, for DROPPED and IGNORED.
        correlation_id: Follows the message through the logs.
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
    """One message to send. Exactly one of `text` (with or without files), `card`, `edit_of` and `reaction_to` leads.

    Args:
        idempotency_key: The same for every attempt; for platforms that refuse a second one with the same key.
        text: What to say; with `edit_of` the new text.
        edit_of: The platform id of the message to change, or None.
        reaction_to: The platform id of the message to react to, or None; `emoji` is then a shortcode.
        in_reply_to: The platform id of the message this answers, or None.
        is_failure: True where it is no answer of the agent but says why there is none, so far or for good.
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
