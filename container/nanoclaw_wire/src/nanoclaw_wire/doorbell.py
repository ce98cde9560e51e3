"""Waking without polling (I10): a unix socket over which one side tells the other to look into its file.

A ring carries no data. The host listens at `in/bell.sock`, which the sandbox sees read-only and may connect to; the
runner connects, and both ring over that one connection. So the host never opens a path that the sandbox made.
Losing a ring costs only latency: a slow poll remains on both sides and is enough for correctness. Where sockets do not
cross the mount (file sharing of virtual machines) the client stays unconnected and its `wait` is a plain poll.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from nanoclaw_wire.socket_path import short_path

MAX_CONNECTIONS = 16  # the runner, and its successor for a moment; more is somebody playing
RINGS_A_SECOND = 500  # of one connection; what is rung beyond that is heard as one
RECONNECT_S = 1.0


class DoorbellServer:
    """The host's side of one session's doorbell.

    Args:
        path: Where to listen; a socket left there by a dead host is replaced.
        on_ring: Called on the event loop for every ring and once when somebody connects, because a ring may have been
            lost before. It must not raise and must be quick.
    """

    def __init__(self, path: Path, on_ring: Callable[[], None]) -> None:
        self._path, self._on_ring = path, on_ring
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def connected(self) -> bool:
        """True while a runner listens; False means that only polling reaches it."""
        return bool(self._writers)

    async def open(self) -> None:
        """Listen. The socket may be connected to by everybody who can reach its directory."""
        self._path.unlink(missing_ok=True)
        with short_path(self._path) as path:
            # Kept before it serves: who is cancelled while it begins to can still close it.
            self._server = await asyncio.start_unix_server(self._serve, path=path, start_serving=False)
            await self._server.start_serving()
        self._path.chmod(0o666)  # the sandbox's user is another one; the directories above are the fence

    def ring(self) -> None:
        """Ring everybody who is connected; silently nobody."""
        for writer in self._writers:
            if writer.transport.get_write_buffer_size() < 64:  # an unread ring is still a ring
                writer.write(b"!")

    async def close(self) -> None:
        """Stop listening and hang up."""
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
        writer.write(b"!")  # what was rung between its connecting and here reached nobody
        try:
            self._on_ring()
            await self._hear(reader)
        except ConnectionError:
            pass  # the other side died; its exit is noticed elsewhere
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        """Pass on rings until the other side hangs up; whoever rings without end is heard ever less."""
        loop = asyncio.get_running_loop()
        since, rings = loop.time(), 0
        while await reader.read(4096):
            self._on_ring()
            rings += 1
            if rings >= RINGS_A_SECOND:
                await asyncio.sleep(max(0.0, since + 1.0 - loop.time()))
                since, rings = loop.time(), 0


class DoorbellClient:
    """The runner's side: ring the host, and wait for its ring.

    It connects by itself and again after a loss (the host restarted), without raising.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rung = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True while the host can be reached; False means that only polling tells of news."""
        return self._writer is not None and not self._writer.is_closing()

    async def open(self) -> None:
        """Try to connect once, then keep trying in the background."""
        connection = await self._connect()
        self._task = asyncio.create_task(self._listen(connection))

    def ring(self) -> None:
        """Tell the host to look. Does nothing while unconnected: the host polls then."""
        if self._writer is not None and self.connected:
            self._writer.write(b"!")

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most so many seconds; True where one came, also one from before this call."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def wake(self) -> None:
        """End a `wait` from this side, as a ring would."""
        self._rung.set()

    async def close(self) -> None:
        """Hang up, after what was rung went out."""
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
        self._rung.set()  # what was written while nobody was connected is looked for once
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
