"""A chat platform that outlives every host: it offers messages until they are accepted, and keeps what it was given."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from attrs import define, field


@define
class Platform:
    """Listens at a unix socket for the host's channel.

    Args:
        offered: By id, the room and text of every message people wrote.
        accepted: The ids whose acceptance a host told us.
        given: What hosts gave us, in order: key, room, text; the same key again where a host did not hear us.
        shown: The keys with the room, each once, in the order of their first coming.
        on_event: Told `offer`, `accept`, `deliver` (before we answer) and `taken` (after we did).
    """

    path: Path
    offered: dict[str, tuple[str, str]] = field(factory=dict)
    accepted: set[str] = field(factory=set)
    given: list[tuple[str, str, str]] = field(factory=list)
    shown: dict[str, tuple[str, str]] = field(factory=dict)
    connections: int = 0
    refused: list[str] = field(factory=list)
    on_event: Any = lambda _what: None
    news: asyncio.Event = field(factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _writer: asyncio.StreamWriter | None = None
    _writers: set[asyncio.StreamWriter] = field(factory=set)

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, path=str(self.path), limit=2**25)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def write(self, message_id: str, room: str, text: str) -> None:
        """Somebody writes."""
        self.offered[message_id] = (room, text)
        self._offer(message_id)

    def _offer(self, message_id: str) -> None:
        if self._writer is not None and not self._writer.is_closing():
            room, text = self.offered[message_id]
            self._send({"offer": message_id, "room": room, "text": text})
            self.on_event("offer")

    def _send(self, frame: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(frame).encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        self._writers.add(writer)
        for message_id in self.offered:
            if message_id not in self.accepted:
                self._offer(message_id)
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                self._hear(json.loads(line))
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _hear(self, frame: dict[str, Any]) -> None:
        if "accepted" in frame:
            assert frame["outcome"] == "routed", frame
            self.accepted.add(frame["accepted"])
            self.on_event("accept")
        elif "refused" in frame:
            self.refused.append(frame["why"])
            asyncio.get_running_loop().call_later(0.05, self._offer, frame["refused"])
        else:
            key, room, text = frame["deliver"], frame["room"], frame["text"]
            self.given.append((key, room, text))
            self.shown.setdefault(key, (room, text))
            self.on_event("deliver")
            self._send({"taken": key, "id": f"platform-{len(self.shown)}"})
            self.on_event("taken")
        self.news.set()
