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
from nanoclaw_channel_terminal.frames import File, Say
from nanoclaw_channel_terminal.names import MAX_LINE_BYTES, SOCKET


class HungUp(Exception):
    """The host went away."""


class Connection:
    """One attached terminal."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, home: Path) -> Connection:
        """Attach to the host on an instance directory.

        Raises:
            OSError: Nothing listens there.
        """
        with short_path(home / "run" / SOCKET) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
        return cls(reader, writer)

    async def next(self) -> dict[str, Any]:
        """Return the next frame. Cancelling it loses nothing.

        Raises:
            HungUp: There will be no more.
        """
        try:
            line = await self._reader.readline()
        except ConnectionError as error:
            raise HungUp("the host went away") from error
        if not line.endswith(b"\n"):
            raise HungUp("the host went away")
        return frames.parse(line)

    async def say(self, text: str, files: Sequence[File] = ()) -> str:
        """Send what somebody says, and return its id.

        Raises:
            HungUp: It did not go out.
        """
        say = Say(id=f"terminal-{secrets.token_hex(6)}", text=text, files=files)
        await self._send(frames.line(frames.say(say)))
        return say.id

    async def seen(self, message_id: str) -> None:
        """Tell the host that a message was shown.

        Raises:
            HungUp: It did not go out; the host shows the message again some time.
        """
        await self._send(frames.line({"type": "seen", "id": message_id}))

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _send(self, line: bytes) -> None:
        try:
            self._writer.write(line)
            await self._writer.drain()
        except ConnectionError as error:
            raise HungUp("the host went away") from error
