"""Serving frames on a unix socket, alike for `ncl` on the host and in a sandbox: one line of JSON each way.

Who may ask is not decided here: it is whoever can reach the socket (I7).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from nanoclaw_wire.frames import Answer, Code, Request, read_request
from nanoclaw_wire.socket_path import short_path

LINE_BYTES = 1_000_000
Tell = Callable[[str], None]


class FrameServer:
    """Listens: many requests a connection, one after the other.

    Args:
        path: Where to listen. Its mode is 0600.
        answer: Returns the line that answers a request, and never raises. What it tells meanwhile goes out at once.
        idle_s: Whoever says nothing for so many seconds is hung up on.
    """

    def __init__(self, path: Path, answer: Callable[[Request, Tell], Awaitable[bytes]], *, idle_s: float) -> None:
        self._path, self._answer, self._idle_s = path, answer, idle_s
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; a socket that a dead process left is replaced."""
        self._path.unlink(missing_ok=True)
        with short_path(self._path) as path:
            self._server = await asyncio.start_unix_server(self._accept, path=path, limit=LINE_BYTES)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            # asyncio leaks the socket of a connection that it has accepted and not yet passed on; that takes two turns.
            for _ in range(2):
                await asyncio.sleep(0)
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        # A `finally` would not do: it does not run for a task that is cancelled before its first step.
        task.add_done_callback(lambda _done: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(self._idle_s):
                    line = await reader.readuntil(b"\n")
                writer.write(await self._line(line, writer))
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(bad_frame(f"longer than {LINE_BYTES} bytes"))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass  # whoever asked went away, or said nothing for a while

    async def _line(self, line: bytes, writer: asyncio.StreamWriter) -> bytes:
        try:
            request = read_request(json.loads(line))
        except (ValueError, RecursionError) as error:
            return bad_frame(str(error))

        def tell(text: str) -> None:
            writer.write(json.dumps({"id": request.id, "progress": text}).encode() + b"\n")

        return await self._answer(request, tell)


def bad_frame(why: str) -> bytes:
    """Return the line that answers what is no request."""
    return Answer(id="unknown", ok=False, code=Code.TRANSPORT_ERROR, message=f"bad frame: {why}").as_line()
