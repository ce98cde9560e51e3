"""Serves the model gateway at 127.0.0.1:PORT in the sandbox, through the unix socket on which the host listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from nanoclaw_wire.socket_path import short_path

log = logging.getLogger(__name__)

CHUNK_BYTES = 65_536


class Forwarder:
    """Pipes TCP connections to a unix socket. It does not read the bytes, and each direction closes by itself."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, port: int) -> int:
        """Listen on 127.0.0.1 and return the port; 0 selects a free one.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        bound_port: int = self._server.sockets[0].getsockname()[1]
        return bound_port

    async def close(self) -> None:
        """Stop listening and close the open connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # by `close`
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with short_path(self._socket) as path:
                gateway_reader, gateway_writer = await asyncio.open_unix_connection(path)
        except OSError as error:
            log.warning("gateway cannot be reached", extra={"reason": str(error)})
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pipe(reader, gateway_writer))
                both.create_task(_pipe(gateway_reader, writer))
        except* OSError:
            pass  # one side broke the connection, which ends the other
        finally:
            gateway_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the reader ends, then end the writer's direction; wait while the writer is full."""
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
