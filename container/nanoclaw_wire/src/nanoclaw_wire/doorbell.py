"""Waking without polling (I10): a unix socket over which each side tells the other to read its file.

A ring carries no data. The host listens at `in/bell.sock`, which the sandbox sees read-only and may connect to. The
runner connects, and both sides ring over that one connection, so the host never opens a path that the sandbox made.
A lost ring costs only latency: both sides also poll slowly, which is enough for correctness. If sockets do not cross
the mount (file sharing of virtual machines), the client stays unconnected and its `wait` is a plain poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from nanoclaw_wire.rates import Rates
from nanoclaw_wire.socket_path import short_path
from nanoclaw_wire.task_set import TaskSet
from nanoclaw_wire.unix_socket import bind_unix

MAX_CONNECTIONS = 16  # a runner, and its successor for a moment, need two; more is abuse
RINGS_BURST, RING_GAP_S = 200, 0.001  # rings and connections of one session; a warm turn of 5 ms rings three times
READ_BYTES = 256 * 1024  # as much as asyncio receives at once
BACKLOG = 128
RECONNECT_S = 1.0
CLOSE_S = 0.5


class DoorbellServer:
    """The host's side of one session's doorbell.

    Rings and connections of the session share one rate. Beyond it, rings are merged, and nothing is read or accepted
    until the next one is reported, because each costs time of the event loop.

    Args:
        path: The socket's path. A socket that a dead host left there is replaced.
        on_ring: Called on the event loop for a ring and for a new connection, because a ring may have been lost before
            it. It must be quick and must not raise.
    """

    def __init__(self, path: Path, on_ring: Callable[[], None]) -> None:
        self._path, self._on_ring = path, on_ring
        self._rates = Rates(count=RINGS_BURST, fill_s=RINGS_BURST * RING_GAP_S)
        self._is_free = asyncio.Event()  # cleared while a ring waits for its moment
        self._is_free.set()
        self._delayed: asyncio.TimerHandle | None = None
        self._bound: socket.socket | None = None
        self._tasks = TaskSet()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def connected(self) -> bool:
        """True while a runner is connected. If False, only polling reaches it."""
        return bool(self._writers)

    async def open(self) -> None:
        """Start to listen. Every process that can reach the directory may connect."""
        # The sandbox runs as another user; the directories above the socket control access.
        self._bound = bind_unix(self._path, mode=0o666)
        self._bound.listen(BACKLOG)
        self._tasks.spawn(self._accept(self._bound))

    def ring(self) -> None:
        """Ring every connected runner. Does nothing if none is connected."""
        for writer in self._writers:
            if writer.transport.get_write_buffer_size() < 64:  # a client with unread rings needs no more of them
                writer.write(b"!")

    async def close(self) -> None:
        """Stop listening and close all connections."""
        try:
            await self._tasks.close(CLOSE_S)
        finally:
            if self._delayed is not None:
                self._delayed.cancel()
            for writer in list(self._writers):
                writer.close()
            if self._bound is not None:
                self._bound.close()
            self._path.unlink(missing_ok=True)

    async def _accept(self, bound: socket.socket) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        while True:
            await self._is_free.wait()
            # A cancelled `loop.sock_accept` may lose an open socket.
            loop.add_reader(bound, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(bound)
            readable.clear()
            try:
                connection, _ = bound.accept()
                if len(self._writers) >= MAX_CONNECTIONS:
                    connection.close()
                else:
                    await self._connect(connection)
            except BlockingIOError:
                continue  # the sandbox hung up
            except OSError:  # the host has too many open files; the runner polls meanwhile
                await asyncio.sleep(RECONNECT_S)
            self._report_ring()

    async def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        # It reads at most two bytes ahead, so that a flood of rings waits in the socket.
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=1)
        self._writers.add(writer)
        writer.write(b"!")  # for the rings between its connect and this line, which were lost
        # Not in a `finally`, which does not run if the task is cancelled before its first step.
        self._tasks.spawn(self._read_rings(reader)).add_done_callback(lambda _done: self._disconnect(writer))

    def _disconnect(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()

    async def _read_rings(self, reader: asyncio.StreamReader) -> None:
        """Report rings until the other side disconnects."""
        with contextlib.suppress(ConnectionError):  # the runner died; the supervisor notices its exit
            while await reader.read(READ_BYTES):
                self._report_ring()
                await self._is_free.wait()

    def _report_ring(self) -> None:
        """Report a ring now. If the rate is exceeded, report it later, merged with those that follow."""
        if self._is_free.is_set():
            self._report_if_free()

    def _report_if_free(self) -> None:
        loop = asyncio.get_running_loop()
        if self._rates.take(self._path, loop.time()):
            self._is_free.set()
            self._on_ring()
        else:
            self._is_free.clear()
            self._delayed = loop.call_later(RING_GAP_S, self._report_if_free)


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
