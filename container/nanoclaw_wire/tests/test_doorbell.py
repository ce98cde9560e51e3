"""The doorbell (I10): real sockets, both sides."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nanoclaw_wire.doorbell import MAX_CONNECTIONS, DoorbellClient, DoorbellServer

WAIT_S = 30.0


class Rings:
    """Counts what the host's side hears."""

    def __init__(self) -> None:
        self.count = 0
        self._news = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._news.set()

    async def more_than(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.count <= count:
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def a_bell(path: Path) -> AsyncIterator[tuple[DoorbellServer, Rings]]:
    rings = Rings()
    bell = DoorbellServer(path, rings)
    await bell.open()
    try:
        yield bell, rings
    finally:
        await bell.close()


@asynccontextmanager
async def a_client(path: Path) -> AsyncIterator[DoorbellClient]:
    client = DoorbellClient(path)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


def test_the_host_hears_the_runner(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_bell(tmp_path / "bell.sock") as (_, rings), a_client(tmp_path / "bell.sock") as client:
            await rings.more_than(0)
            before = rings.count
            client.ring()
            await rings.more_than(before)

    asyncio.run(scenario())


def test_the_runner_hears_the_host(tmp_path: Path) -> None:
    async def scenario() -> bool:
        async with a_bell(tmp_path / "bell.sock") as (bell, rings), a_client(tmp_path / "bell.sock") as client:
            await rings.more_than(0)
            assert await client.wait(WAIT_S)  # connecting counts as a ring
            bell.ring()
            return await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_connecting_is_a_ring_on_both_sides_because_one_may_have_been_lost(tmp_path: Path) -> None:
    async def scenario() -> bool:
        async with a_bell(tmp_path / "bell.sock") as (_, rings), a_client(tmp_path / "bell.sock") as client:
            await rings.more_than(0)
            return await client.wait(0.0) or await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_a_wait_without_a_ring_ends_in_time(tmp_path: Path) -> None:
    async def scenario() -> bool:
        async with a_client(tmp_path / "nobody.sock") as client:
            assert not client.connected
            client.ring()
            return await client.wait(0.01)

    assert asyncio.run(scenario()) is False


def test_a_wait_can_be_ended_from_the_runners_own_side(tmp_path: Path) -> None:
    async def scenario() -> bool:
        async with a_client(tmp_path / "nobody.sock") as client:
            client.wake()
            return await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_the_runner_finds_a_host_that_came_later(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"

    async def scenario() -> bool:
        async with a_client(path) as client, a_bell(path) as (_, rings):
            await rings.more_than(0)
            return await client.wait(WAIT_S)

    assert asyncio.run(scenario())


def test_a_socket_that_a_dead_host_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    async def scenario() -> int:
        async with a_bell(path) as (_, rings), a_client(path):
            await rings.more_than(0)
            return stat.S_IMODE(path.stat().st_mode)

    assert asyncio.run(scenario()) == 0o666
    assert not path.exists()


def test_a_path_too_long_for_a_socket_address_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    async def scenario() -> int:
        async with a_bell(deep / "bell.sock") as (_, rings), a_client(deep / "bell.sock"):
            await rings.more_than(0)
            return rings.count

    assert asyncio.run(scenario()) >= 1


def test_whoever_knocks_too_often_is_hung_up_on(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"

    async def scenario() -> bytes:
        async with a_bell(path) as (bell, rings):
            kept = []
            for count in range(MAX_CONNECTIONS):
                kept.append((await asyncio.open_unix_connection(path))[1])
                await rings.more_than(count)
            reader, writer = await asyncio.open_unix_connection(path)
            async with asyncio.timeout(WAIT_S):
                heard = await reader.read()
            assert bell.connected
            for one in (*kept, writer):
                one.close()
            return heard

    assert asyncio.run(scenario()) == b""


def test_rings_for_a_client_that_does_not_read_are_not_kept_without_end(tmp_path: Path) -> None:
    path = tmp_path / "bell.sock"
    rings_sent = 300_000

    async def scenario() -> int:
        async with a_bell(path) as (bell, rings):
            reader, writer = await asyncio.open_unix_connection(path, limit=1)
            await rings.more_than(0)
            for _ in range(rings_sent):
                bell.ring()
            await bell.close()
            async with asyncio.timeout(WAIT_S):
                heard = len(await reader.read())
            writer.close()
            return heard

    assert 0 < asyncio.run(scenario()) < rings_sent


def test_invariant_10_a_ring_before_the_host_knows_of_a_connection_is_not_lost(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        async with a_bell(tmp_path / "bell.sock") as (bell, _):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(tmp_path / "bell.sock"))
                line.setblocking(False)
                assert not bell.connected
                bell.ring()
                async with asyncio.timeout(WAIT_S):
                    return await asyncio.get_running_loop().sock_recv(line, 1)

    assert asyncio.run(scenario()) == b"!"
