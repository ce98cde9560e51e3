"""The adapter: polls the topic and publishes to it (https://docs.ntfy.sh/subscribe/api/)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from attrs import frozen

from nanoclaw_channel_ntfy.rows import position, set_position
from nanoclaw_core import DeliveryRefused, Inbound

if TYPE_CHECKING:
    from nanoclaw_channel_ntfy.host import Settings
    from nanoclaw_core import Address, Outbound, PluginContext, Receive

TAG = "nanoclaw"  # marks our own messages, which the poll also returns
MAX_TEXT_BYTES = 4_096  # ntfy turns a longer text into a file or refuses it
PERMANENT_ERRORS = frozenset({400, 401, 403, 404, 413})  # a retry would not help
TIMEOUT_S = 10.0


@frozen
class NtfyAdapter:
    """One topic of one server."""

    settings: Settings
    context: PluginContext

    async def listen(self, receive: Receive) -> None:
        """Pass on published messages until cancelled. The first start ever begins with new messages."""
        topic, db = self.settings.topic, self.context.database
        since = position(db, topic)
        if since is None:  # stored at once, so that a message is fetched again if the host cannot store it
            since = str(int(time.time()))
            set_position(db, topic, since)
        while True:
            answer = await self._call(f"{topic}/json?poll=1&since={since}")
            for event in map(json.loads, answer.splitlines()):
                if event["event"] == "message" and TAG not in event.get("tags", ()):
                    await receive(_inbound(event))
                since = event["id"]
                set_position(db, topic, since)  # only now, because an unstored message must be fetched again
            await asyncio.sleep(self.settings.poll_s)

    async def deliver(self, address: Address, message: Outbound) -> str | None:
        """Publish the text in pieces, then the files. Return the id of the last message."""
        if message.edit_of or message.reaction_to:
            raise DeliveryRefused("ntfy cannot edit messages or react to them")
        message_id: str | None = None
        for piece in split_text(text_of(message), MAX_TEXT_BYTES):
            message_id = await self._publish(address.room, piece.encode(), {})
        for file in message.files:
            message_id = await self._publish(address.room, file.content, {"Filename": quote(file.name)})
        return message_id

    async def _publish(self, topic: str, body: bytes, headers: Mapping[str, str]) -> str:
        try:
            published = json.loads(await self._call(topic, body, {"Tags": TAG, **headers}))
        except HTTPError as error:
            if error.code in PERMANENT_ERRORS:
                raise DeliveryRefused(f"ntfy refused the message: {error.code} {error.reason}") from error
            raise
        return str(published["id"])

    async def _call(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> str:
        request = Request(f"{self.settings.server}/{path}", body, dict(headers or {}))
        if self.settings.token:
            request.add_header("Authorization", f"Bearer {self.settings.token.reveal()}")
        return await asyncio.to_thread(_fetch, request)


def text_of(message: Outbound) -> str:
    """Return the text of a message. A card becomes a text with its options below."""
    if message.card is None:
        return message.text
    card = message.card
    return "\n".join(
        part for part in (card.title, card.text, *(f"· {option.label}" for option in card.options)) if part
    )


def split_text(text: str, limit_bytes: int) -> Iterator[str]:
    """Split a text into pieces of at most `limit_bytes`, after a line break or a space if possible."""
    while len(text.encode()) > limit_bytes:
        longest = text.encode()[:limit_bytes].decode(errors="ignore")
        cut = max(longest.rfind("\n"), longest.rfind(" ")) + 1 or len(longest)
        yield text[:cut]
        text = text[cut:]
    if text:
        yield text


def _inbound(event: Mapping[str, Any]) -> Inbound:
    return Inbound(
        room=event["topic"],
        text=event["message"],
        sender=None,  # a topic is a shared secret, so ntfy does not know the sender
        message_id=event["id"],  # lets the host recognise a repeated message
        is_mention=True,  # every message in the topic addresses the agent
        at=datetime.fromtimestamp(event["time"], UTC),
    )


def _fetch(request: Request) -> str:
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
    except HTTPError as error:
        error.close()
        raise
    return text
