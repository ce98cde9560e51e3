"""Gives the model gateway an address in the sandbox: 127.0.0.1:PORT, piped to the unix socket the host listens on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from nanoclaw_wire.socket_path import short_path

log = logging.getLogger(__name__)

CHUNK_BYTES = 65_536


class Forwarder:
    """Pipes TCP connections to a unix socket, bytes unseen, each direction closing for itself."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, port: int) -> int:
        """Listen on 127.0.0.1 and return the port; 0 takes any that is free.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Stop listening and cut what is under way."""
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
            pass  # `close` cut it
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
            pass  # one side broke off, so the other has nobody to talk to
        finally:
            gateway_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the reader ends, then end the writer's direction; waits while the writer is full."""
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
