"""A terminal's end of the socket."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoclaw_wire.socket_path import short_path

from nanoclaw_channel_terminal import frames
from nanoclaw_channel_terminal.frames import OperatorMessage, TransferredFile
from nanoclaw_channel_terminal.protocol import MAX_LINE_BYTES, SOCKET


class HungUp(Exception):
    """The host closed the connection."""


class Connection:
    """One attached terminal."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, home: Path) -> Connection:
        """Attach to the host of an instance directory.

        Raises:
            OSError: No host listens there.
        """
        with short_path(home / "run" / SOCKET) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
        return cls(reader, writer)

    async def next(self) -> dict[str, Any]:
        """Return the next frame. A cancelled call loses no frame.

        Raises:
            HungUp: The host closed the connection.
        """
        try:
            line = await self._reader.readline()
        except ConnectionError as error:
            raise HungUp("the host closed the connection") from error
        if not line.endswith(b"\n"):
            raise HungUp("the host closed the connection")
        return frames.parse(line)

    async def say(self, text: str, files: Sequence[TransferredFile] = ()) -> str:
        """Send a message and return its id.

        Raises:
            HungUp: The message was not sent.
        """
        message = OperatorMessage(id=f"terminal-{secrets.token_hex(6)}", text=text, files=files)
        await self._send(frames.encode(frames.say_frame(message)))
        return message.id

    async def seen(self, message_id: str) -> None:
        """Confirm to the host that a message was shown.

        Raises:
            HungUp: The notice was not sent, so the host will show the message again.
        """
        await self._send(frames.encode({"type": "seen", "id": message_id}))

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _send(self, line: bytes) -> None:
        try:
            self._writer.write(line)
            await self._writer.drain()
        except ConnectionError as error:
            raise HungUp("the host closed the connection") from error
