"""A server of `ncl` frames on a unix socket, for the host and for sandboxes: one line of JSON each way.

It does not authenticate: every process that can reach the socket may send requests (I7).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from nanoclaw_wire.frames import Answer, Code, Request, read_request
from nanoclaw_wire.task_set import TaskSet
from nanoclaw_wire.unix_socket import bind_unix

LINE_BYTES = 1_000_000
CLOSE_S = 0.5  # a cancelled request ends at once; one that swallows its cancellation must not keep its host
Progress = Callable[[str], None]
"""Sends a line of progress to the client."""


class FrameServer:
    """A server that answers many requests of a connection, one after the other.

    Args:
        path: The socket's path. The socket gets mode 0600.
        answer: Returns the line that answers a request. It must not raise. Its `Progress` sends text at once.
        idle_s: Seconds without a request after which a connection is closed.
    """

    def __init__(self, path: Path, answer: Callable[[Request, Progress], Awaitable[bytes]], *, idle_s: float) -> None:
        self._path, self._answer, self._idle_s = path, answer, idle_s
        self._server: asyncio.Server | None = None
        self._connections = TaskSet()

    async def open(self) -> None:
        """Start to listen. A socket that a dead process left is replaced."""
        self._server = await asyncio.start_unix_server(
            self._accept, sock=bind_unix(self._path, mode=0o600), limit=LINE_BYTES
        )

    async def close(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            # asyncio leaks a connection that it has accepted but not yet dispatched, which takes two turns of the loop.
            for _ in range(2):
                await asyncio.sleep(0)
            self._server.close()
        await self._connections.close(CLOSE_S)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._connections.spawn(self._serve(reader, writer))
        # Not in a `finally`, which does not run if the task is cancelled before its first step.
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
            pass  # the client disconnected, or idled for too long

    async def _line(self, line: bytes, writer: asyncio.StreamWriter) -> bytes:
        try:
            request = read_request(json.loads(line))
        except (ValueError, RecursionError) as error:
            return bad_frame(str(error))

        def send_progress(text: str) -> None:
            writer.write(json.dumps({"id": request.id, "progress": text}).encode() + b"\n")

        return await self._answer(request, send_progress)


def bad_frame(reason: str) -> bytes:
    """Return the line that answers an invalid request."""
    return Answer(id="unknown", ok=False, code=Code.TRANSPORT_ERROR, message=f"bad frame: {reason}").as_line()
