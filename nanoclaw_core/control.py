"""The control socket: `ncl` on the host. Whoever can reach it is the operator; its file mode is the fence (I7)."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

from nanoclaw_wire.frames import Answer, Code, read_request
from nanoclaw_wire.socket_path import short_path

from nanoclaw_core.descriptors.votes import Caller
from nanoclaw_core.dispatch import Dispatch

log = logging.getLogger(__name__)
LINE_BYTES = 1_000_000
IDLE_S = 300.0


class ControlServer:
    """Listens at `run/ncl.sock`: newline-delimited JSON, many requests a connection."""

    def __init__(self, path: Path, dispatch: Dispatch) -> None:
        self._path, self._dispatch = path, dispatch
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; a socket that a dead host left is replaced."""
        self._path.unlink(missing_ok=True)
        with short_path(self._path) as path:
            self._server = await asyncio.start_unix_server(self._accept, path=path, limit=LINE_BYTES)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readuntil(b"\n")
                writer.write((await self._answer(line, writer)).as_line())
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_bad_frame(f"longer than {LINE_BYTES} bytes").as_line())
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass  # the client went away, or said nothing for a while
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> Answer:
        try:
            request = read_request(json.loads(line))
        except (ValueError, RecursionError) as error:
            return _bad_frame(str(error))

        def tell(text: str) -> None:
            writer.write(json.dumps({"id": request.id, "progress": text}).encode() + b"\n")

        return await self._dispatch.answer(request, Caller(operator=True, tell=tell))


def _bad_frame(why: str) -> Answer:
    return Answer(id="unknown", ok=False, code=Code.TRANSPORT_ERROR, message=f"bad frame: {why}")
