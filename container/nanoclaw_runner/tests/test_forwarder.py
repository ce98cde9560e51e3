"""Tests of the forwarder to the model gateway."""

import asyncio
import contextlib

from nanoclaw_runner.forwarder import Forwarder
from nanoclaw_runner.testing import HostSide
from nanoclaw_wire.socket_path import short_path

PATIENCE_S = 30


@contextlib.asynccontextmanager
async def gateway(path, serve):
    """Listen at a unix socket as the host's gateway does, and forward to it from a free port."""

    async def accept(reader, writer):
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    with short_path(path) as short:
        server = await asyncio.start_unix_server(accept, path=short)
    forwarder = Forwarder(path)
    port = await forwarder.open(0)
    try:
        yield port
    finally:
        await forwarder.close()
        server.close()


async def echo_after_end(reader, writer):
    """Answer only when the asking side has closed its direction."""
    writer.write((await reader.read()).upper())
    await writer.drain()


def within(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


def test_forwarder_half_closed_connection_gets_its_answer(tmp_path):
    async def run():
        async with gateway(tmp_path / "gateway.sock", echo_after_end) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read() == b"QUESTION"
            writer.close()

    within(run())


def test_forwarder_reaches_a_socket_with_a_long_path(tmp_path):
    async def run():
        directory = tmp_path / ("d" * 100)
        directory.mkdir()
        async with gateway(directory / "gateway.sock", echo_after_end) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()

    within(run())


def test_forwarder_slow_reader_blocks_the_writer(tmp_path):
    written = 0
    is_full = asyncio.Event()

    async def pour(_reader, writer):
        nonlocal written
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65_536)
                written += 65_536
                try:
                    async with asyncio.timeout(1):
                        await writer.drain()
                except TimeoutError:
                    is_full.set()
                    return

    async def run():
        async with gateway(tmp_path / "gateway.sock", pour) as port:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            await is_full.wait()
            assert written < 64 * 1024 * 1024
            writer.transport.abort()

    within(run())


def test_forwarder_missing_gateway_closes_the_connection(tmp_path):
    async def run():
        forwarder = Forwarder(tmp_path / "gateway.sock")
        port = await forwarder.open(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        await forwarder.close()

    within(run())


def test_runner_with_open_gateway_connection_stops(tmp_path):
    async def run():
        async with HostSide(tmp_path, options={"echo": "true"}, gateway_port=0) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert await host.stop() == 0

    within(run())
