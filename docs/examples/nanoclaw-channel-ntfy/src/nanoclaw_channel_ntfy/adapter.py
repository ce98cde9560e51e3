"""The running half: polls the topic and publishes to it (https://docs.ntfy.sh/subscribe/api/)."""

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

TAG = "nanoclaw"  # marks our own posts, which come back like everybody's
PIECE_BYTES = 4_096  # ntfy makes a file of what is longer, or refuses it
FOR_EVER = frozenset({400, 401, 403, 404, 413})  # trying again would not help
TIMEOUT_S = 10.0


@frozen
class NtfyAdapter:
    """One topic of one server."""

    settings: Settings
    context: PluginContext

    async def listen(self, receive: Receive) -> None:
        """Pass on what is published until cancelled; on the first start ever, from now on."""
        topic, db = self.settings.topic, self.context.database
        since = position(db, topic)
        if since is None:  # kept at once: what comes now is fetched again too, if the host cannot store it
            since = str(int(time.time()))
            set_position(db, topic, since)
        while True:
            answer = await self._call(f"{topic}/json?poll=1&since={since}")
            for event in map(json.loads, answer.splitlines()):
                if event["event"] == "message" and TAG not in event.get("tags", ()):
                    await receive(_inbound(event))
                since = event["id"]
                set_position(db, topic, since)  # only now: what the host has not stored is fetched again
            await asyncio.sleep(self.settings.poll_s)

    async def deliver(self, address: Address, message: Outbound) -> str | None:
        """Publish a text in pieces, then its files; return the id of the last."""
        if message.edit_of or message.reaction_to:
            raise DeliveryRefused("ntfy can neither change a message nor react to one")
        message_id: str | None = None
        for piece in pieces(words_of(message), PIECE_BYTES):
            message_id = await self._publish(address.room, piece.encode(), {})
        for file in message.files:
            message_id = await self._publish(address.room, file.content, {"Filename": quote(file.name)})
        return message_id

    async def _publish(self, topic: str, body: bytes, headers: Mapping[str, str]) -> str:
        try:
            published = json.loads(await self._call(topic, body, {"Tags": TAG, **headers}))
        except HTTPError as error:
            if error.code in FOR_EVER:
                raise DeliveryRefused(f"ntfy refused it: {error.code} {error.reason}") from error
            raise
        return str(published["id"])

    async def _call(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> str:
        request = Request(f"{self.settings.server}/{path}", body, dict(headers or {}))
        if self.settings.token:
            request.add_header("Authorization", f"Bearer {self.settings.token}")
        return await asyncio.to_thread(_fetch, request)


def words_of(message: Outbound) -> str:
    """Return what a message says; a card becomes a text with its choices below."""
    if message.card is None:
        return message.text
    card = message.card
    return "\n".join(part for part in (card.title, card.text, *(f"· {one.label}" for one in card.options)) if part)


def pieces(text: str, limit_bytes: int) -> Iterator[str]:
    """Cut a text into pieces of at most so many bytes, behind a line break or a blank where there is one."""
    while len(text.encode()) > limit_bytes:
        most = text.encode()[:limit_bytes].decode(errors="ignore")
        cut = max(most.rfind("\n"), most.rfind(" ")) + 1 or len(most)
        yield text[:cut]
        text = text[cut:]
    if text:
        yield text


def _inbound(event: Mapping[str, Any]) -> Inbound:
    return Inbound(
        room=event["topic"],
        text=event["message"],
        sender=None,  # a topic is a shared secret: ntfy cannot say who wrote
        message_id=event["id"],  # the same one twice is stored once
        is_mention=True,  # nobody else is there to be spoken to
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
