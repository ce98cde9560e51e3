"""Waking without polling (I10): a unix socket over which each side tells the other to read its file.

A ring carries no data. The host listens at `in/bell.sock`, which the sandbox sees read-only and may connect to. The
runner connects, and both sides ring over that one connection, so the host never opens a path that the sandbox made.
A lost ring costs only latency: both sides also poll slowly, which is enough for correctness. If sockets do not cross
the mount (file sharing of virtual machines), the client stays unconnected and its `wait` is a plain poll.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from nanoclaw_wire.socket_path import short_path
from nanoclaw_wire.unix_socket import bind_unix

MAX_CONNECTIONS = 16  # a runner, and its successor for a moment, need two; more is abuse
MAX_RINGS_PER_SECOND = 500  # from one connection; further rings are merged into one
RECONNECT_S = 1.0


class DoorbellServer:
    """The host's side of one session's doorbell.

    Args:
        path: The socket's path. A socket that a dead host left there is replaced.
        on_ring: Called on the event loop for every ring and for every new connection, because a ring may have been lost
            before it. It must be quick and must not raise.
    """

    def __init__(self, path: Path, on_ring: Callable[[], None]) -> None:
        self._path, self._on_ring = path, on_ring
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def connected(self) -> bool:
        """True while a runner is connected. If False, only polling reaches it."""
        return bool(self._writers)

    async def open(self) -> None:
        """Start to listen. Every process that can reach the directory may connect."""
        # The sandbox runs as another user; the directories above the socket control access.
        bound = bind_unix(self._path, mode=0o666)
        # Assigned before it serves, so that `close` works if this task is cancelled while it starts.
        self._server = await asyncio.start_unix_server(self._serve, sock=bound, start_serving=False)
        await self._server.start_serving()

    def ring(self) -> None:
        """Ring every connected runner. Does nothing if none is connected."""
        for writer in self._writers:
            if writer.transport.get_write_buffer_size() < 64:  # a client with unread rings needs no more of them
                writer.write(b"!")

    async def close(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._writers.add(writer)
        writer.write(b"!")  # for the rings between its connect and this line, which were lost
        try:
            self._on_ring()
            await self._read_rings(reader)
        except ConnectionError:
            pass  # the runner died; the supervisor notices its exit
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _read_rings(self, reader: asyncio.StreamReader) -> None:
        """Report rings until the other side disconnects, at most `MAX_RINGS_PER_SECOND`."""
        loop = asyncio.get_running_loop()
        since, rings = loop.time(), 0
        while await reader.read(4096):
            self._on_ring()
            rings += 1
            if rings >= MAX_RINGS_PER_SECOND:
                await asyncio.sleep(max(0.0, since + 1.0 - loop.time()))
                since, rings = loop.time(), 0


class DoorbellClient:
    """The runner's side: rings the host, and waits for its rings.

    It connects in the background, and again after a loss, such as a restart of the host. It never raises.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rung = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True while the host is connected. If False, only polling finds new rows."""
        return self._writer is not None and not self._writer.is_closing()

    async def open(self) -> None:
        """Try to connect once, then keep trying in the background."""
        connection = await self._connect()
        self._task = asyncio.create_task(self._listen(connection))

    def ring(self) -> None:
        """Tell the host to read its file. Does nothing while unconnected, because the host polls then."""
        if self._writer is not None and self.connected:
            self._writer.write(b"!")

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most `timeout_s` seconds. Return True if one came, even before this call."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def wake(self) -> None:
        """End a `wait` from this side, as a ring does."""
        self._rung.set()

    async def close(self) -> None:
        """Flush the rings, then disconnect."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._writer is not None:
            with contextlib.suppress(OSError):
                await self._writer.drain()
            self._writer.close()

    async def _connect(self) -> asyncio.StreamReader | None:
        try:
            with short_path(self._path) as path:
                reader, self._writer = await asyncio.open_unix_connection(path)
        except OSError:
            return None
        self._rung.set()  # reads once the rows that were written while it was unconnected
        return reader

    async def _listen(self, reader: asyncio.StreamReader | None) -> None:
        while True:
            if reader is not None:
                with contextlib.suppress(ConnectionError):
                    while await reader.read(4096):
                        self._rung.set()
                if self._writer is not None:
                    self._writer.close()
                self._writer = None
            await asyncio.sleep(RECONNECT_S)
            reader = await self._connect()
