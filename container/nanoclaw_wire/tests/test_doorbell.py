"""Both sides of the doorbell (I10), on real sockets."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nanoclaw_wire.doorbell import MAX_CONNECTIONS, DoorbellClient, DoorbellServer

WAIT_S = 30.0


class Rings:
    """Counts the rings that the host receives."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def more_than(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.count <= count:
                await self._changed.wait()
                self._changed.clear()


@asynccontextmanager
async def open_server(path: Path) -> AsyncIterator[tuple[DoorbellServer, Rings]]:
    rings = Rings()
    server = DoorbellServer(path, rings)
    await server.open()
    try:
        yield server, rings
    finally:
        await server.close()


@asynccontextmanager
async def open_client(path: Path) -> AsyncIterator[DoorbellClient]:
    client = DoorbellClient(path)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


def test_client_ring_reaches_the_host(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_server(tmp_path / "bell.sock") as (_, rings), open_client(tmp_path / "bell.sock") as client:
            await rings.more_than(0)
            before = rings.count
            client.ring()
            await rings.more_than(before)

    asyncio.run(scenario())


def test_server_ring_reaches_the_runner(tmp_path: Path) -> None:
    async def scenario() -> bool:
        async with (
            open_server(tmp_path / "bell.sock") as (server, rings),
            open_client(tmp_path / "bell.sock") as client,
        ):
            await rings.more_than(0)
            assert await client.wait(WAIT_S)  # connecting counts as a ring
            server.ring()
            return await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_connect_rings_on_both_sides(tmp_path: Path) -> None:
    """A ring may have been lost before the connection."""

    async def scenario() -> bool:
        async with open_server(tmp_path / "bell.sock") as (_, rings), open_client(tmp_path / "bell.sock") as client:
            await rings.more_than(0)
            return await client.wait(0.0) or await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_wait_without_ring_times_out(tmp_path: Path) -> None:
    async def scenario() -> bool:
        async with open_client(tmp_path / "missing.sock") as client:
            assert not client.connected
            client.ring()
            return await client.wait(0.01)

    assert asyncio.run(scenario()) is False


def test_wake_ends_wait(tmp_path: Path) -> None:
    async def scenario() -> bool:
        async with open_client(tmp_path / "missing.sock") as client:
            client.wake()
            return await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_client_connects_to_later_host(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"

    async def scenario() -> bool:
        async with open_client(path) as client, open_server(path) as (_, rings):
            await rings.more_than(0)
            return await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_server_replaces_socket_of_dead_host(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    async def scenario() -> int:
        async with open_server(path) as (_, rings), open_client(path):
            await rings.more_than(0)
            return stat.S_IMODE(path.stat().st_mode)

    assert asyncio.run(scenario()) == 0o666
    assert not path.exists()


def test_doorbell_works_at_long_path(tmp_path: Path) -> None:
    """The path exceeds the 108 bytes of a socket address."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    async def scenario() -> int:
        async with open_server(deep / "bell.sock") as (_, rings), open_client(deep / "bell.sock"):
            await rings.more_than(0)
            return rings.count

    assert asyncio.run(scenario()) >= 1


def test_server_closes_surplus_connections(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"

    async def scenario() -> bytes:
        async with open_server(path) as (server, rings):
            writers = []
            for count in range(MAX_CONNECTIONS):
                writers.append((await asyncio.open_unix_connection(path))[1])
                await rings.more_than(count)
            reader, writer = await asyncio.open_unix_connection(path)
            async with asyncio.timeout(WAIT_S):
                received = await reader.read()
            assert server.connected
            for connected in (*writers, writer):
                connected.close()
            return received

    assert asyncio.run(scenario()) == b""


def test_server_limits_unread_rings(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"
    rings_sent = 300_000

    async def scenario() -> int:
        async with open_server(path) as (server, rings):
            reader, writer = await asyncio.open_unix_connection(path, limit=1)
            await rings.more_than(0)
            for _ in range(rings_sent):
                server.ring()
            await server.close()
            async with asyncio.timeout(WAIT_S):
                received = len(await reader.read())
            writer.close()
            return received

    assert 0 < asyncio.run(scenario()) < rings_sent


@pytest.mark.invariant(number=10)
def test_ring_before_accept_is_not_lost(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        async with open_server(tmp_path / "bell.sock") as (server, _):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(tmp_path / "bell.sock"))
                line.setblocking(False)
                assert not server.connected
                server.ring()
                async with asyncio.timeout(WAIT_S):
                    return await asyncio.get_running_loop().sock_recv(line, 1)

    assert asyncio.run(scenario()) == b"!"
