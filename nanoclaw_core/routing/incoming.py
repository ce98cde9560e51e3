"""An incoming message with its room, ids and time, and the check of an adapter's input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from attrs import asdict, frozen
from nanoclaw_wire import clock, content
from nanoclaw_wire.inbound import Kind, NewInbound
from nanoclaw_wire.labels import MAX_ID_CHARACTERS, label

from nanoclaw_core.descriptors.channels import Channel
from nanoclaw_core.descriptors.messages import Address, Attachment, Inbound, Outcome, Quoted, Receipt
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import UserId, new_id, user_id
from nanoclaw_core.store.dropped import DroppedMessage

NOT_ENGAGED = "no agent of this room was addressed"
OPTIONAL_TEXTS = ("sender", "sender_name", "thread", "message_id", "room_name")


@frozen(kw_only=True)
class IncomingMessage:
    """A message on its way through the wirings of its room.

    Args:
        is_identified: True if the platform gave it an id, so that a second offer can be recognised.
        row_id: The same for each offer of an identified message.
        sender_name: The label of the writer's display name, or None.
        room_name: The label of the room's name; empty if it has none.
        at: Time of the message, clock text form.
    """

    inbound: Inbound
    channel: Channel
    address: Address
    sender_name: str | None
    room_name: str
    user: UserId | None
    correlation_id: str
    is_identified: bool
    row_id: str
    at: str

    def as_dropped(self, reason: str, group_id: str) -> DroppedMessage:
        """Return the record of a refusal; `group_id` is empty if no agent is wired."""
        return DroppedMessage(
            channel=self.address.channel,
            room=self.address.room,
            sender=self.inbound.sender or "",
            sender_name=self.sender_name,
            reason=reason,
            agent_group_id=group_id,
        )

    def as_row(self, files: Sequence[dict[str, Any]], *, trigger: bool) -> NewInbound:
        """Return the row for a session's inbox.

        Args:
            files: The stored attachments.
            trigger: True wakes the agent, False adds context to its next prompt.
        """
        inbound = self.inbound
        text = content.chat(
            inbound.text,
            sender_id=self.user,
            sender=self.sender_name or inbound.sender or "",
            attachments=list(files),
            quoted=asdict(inbound.quoted) if inbound.quoted else None,
        )
        return NewInbound(
            id=self.row_id,
            kind=Kind.CHAT,
            at=self.at,
            content=readable(text),
            trigger=trigger,
            channel=self.address.channel,
            room=self.address.room,
            thread=self.address.thread,
            platform_message_id=inbound.message_id,
            correlation_id=self.correlation_id,
        )


def read(channel: Channel, inbound: Inbound) -> IncomingMessage:
    """Give a message without a problem its address, its ids and its time."""
    address = Address(channel.name, inbound.room, inbound.thread if channel.has_threads else None)
    name = json.dumps([address.channel, address.room, inbound.message_id])
    is_identified = inbound.message_id is not None
    return IncomingMessage(
        inbound=inbound,
        channel=channel,
        address=address,
        sender_name=label(inbound.sender_name or "") or None,
        room_name=label(inbound.room_name or ""),
        user=user_id(channel.name, inbound.sender) if inbound.sender else None,
        correlation_id=new_id("msg"),
        is_identified=is_identified,
        row_id=f"in-{hashlib.sha256(name.encode()).hexdigest()[:24]}" if is_identified else new_id("in"),
        at=clock.to_text(inbound.at) if inbound.at else clock.now_text(),
    )


def combine(message: IncomingMessage, results: Sequence[Receipt | BaseException]) -> Receipt:
    """Return one receipt for the results of all wirings, of which there is at least one.

    Raises:
        NanoclawError: The message was not stored for every agent. A retry with the same platform id is deduplicated;
            without an id it is raised only if no agent has the message.
    """
    outcomes = {result.outcome for result in results if isinstance(result, Receipt)}
    texts = (result.reason if isinstance(result, Receipt) else str(result) for result in results)
    reason = "; ".join(dict.fromkeys(text for text in texts if text not in ("", None, NOT_ENGAGED))) or None
    is_taken = bool(outcomes & {Outcome.ROUTED, Outcome.ACCUMULATED})
    has_failed = any(isinstance(result, BaseException) for result in results)
    if has_failed and (message.is_identified or not is_taken):
        raise NanoclawError(f"the message could not be stored for every agent: {reason}")
    if outcomes == {Outcome.IGNORED}:
        reason = reason or NOT_ENGAGED
    outcome = next(outcome for outcome in Outcome if outcome in outcomes)
    return Receipt(outcome=outcome, reason=reason, correlation_id=message.correlation_id)


def find_problem(inbound: object) -> str:
    """Return the fault of an adapter's input; an empty text if it has none (⚠58)."""
    if not isinstance(inbound, Inbound):
        return f"the adapter must pass an Inbound, got {type(inbound).__name__}"
    if not isinstance(inbound.room, str) or not inbound.room:
        return f"`room` must be a non-empty string, got {inbound.room!r}"
    if not isinstance(inbound.text, str):
        return f"`text` must be a string, got {type(inbound.text).__name__}"
    for name in OPTIONAL_TEXTS:
        value = getattr(inbound, name)
        if value is not None and not isinstance(value, str):
            return f"`{name}` must be a string or None, got {type(value).__name__}"
    for part in (*inbound.attachments, *filter(None, [inbound.quoted])):
        for name, value in asdict(part).items() if isinstance(part, Attachment | Quoted) else [("", ...)]:
            if value is not None and not isinstance(value, bytes if name == "content" else str):
                return "an attachment or the quoted message has a value of a wrong type"
    try:
        clock.to_text(inbound.at or clock.now())
    except (AttributeError, TypeError, ValueError, OverflowError):
        return "`at` must be a datetime with a time zone, in the years 1 to 9999"
    ids = [text for text in (inbound.room, inbound.thread, inbound.sender, inbound.message_id) if text is not None]
    if any(len(text) > MAX_ID_CHARACTERS or readable(text) != text for text in ids):  # a cut one is another's (I14)
        return f"an id of the room, thread, sender or message is not valid Unicode or longer than {MAX_ID_CHARACTERS}"
    return ""


def readable(text: str) -> str:
    """Replace half characters by question marks. Some platforms cut emoji into them, and no text store takes them."""
    return text.encode("utf-8", "replace").decode("utf-8")
