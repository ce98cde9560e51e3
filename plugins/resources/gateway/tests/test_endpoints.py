"""Endpoints of sessions: their sockets, connections and end."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, UnixConnector, web
from gateway_requests import WAIT_S, Opened, echo, until
from nanoclaw_resource_gateway.settings import Settings


def test_closing_an_endpoint_ends_calls_and_removes_socket(opened: Opened) -> None:
    began = asyncio.Event()

    async def blocked(_request: web.Request) -> web.Response:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError("the handler must stay blocked")

    async def scenario() -> None:
        async with opened(blocked) as (setup, client):
            call = asyncio.create_task(client.get("/api/x").__aenter__())
            await asyncio.wait_for(began.wait(), WAIT_S)
            await asyncio.wait_for(setup.gateway.close_endpoint(setup.session_id), WAIT_S)
            with pytest.raises(ClientError):
                await call
            assert not setup.socket.exists()
            await setup.gateway.close_endpoint(setup.session_id)

    asyncio.run(scenario())


def test_stale_socket_is_replaced_and_open_to_all_users(opened: Opened, tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "gateway.sock").write_bytes(b"left by a dead host")
        async with opened(echo) as (setup, client), client.get("/api/x") as answer:
            assert answer.status == 200
            assert stat.S_IMODE(setup.socket.stat().st_mode) == 0o666

    asyncio.run(scenario())


def test_socket_with_a_long_path_can_be_bound(opened: Opened, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(echo) as (setup, _):
            folder = tmp_path / ("long" * 30)
            folder.mkdir()
            setup.socket = folder / "gateway.sock"
            await setup.gateway.open_endpoint(setup.endpoint())
            assert stat.S_ISSOCK(setup.socket.stat().st_mode)

    asyncio.run(scenario())


def test_connections_of_a_sandbox_are_limited(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(echo, settings=Settings(max_calls=1)) as (setup, _):
            pairs = [await asyncio.open_unix_connection(str(setup.socket)) for _ in range(8)]
            gone = [asyncio.create_task(reader.read()) for reader, _ in pairs]
            await until(lambda: sum(task.done() for task in gone) == 4)
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            for _, writer in pairs:
                writer.close()

    asyncio.run(scenario())


def test_endpoint_serves_only_its_own_session(opened: Opened, tmp_path: Path) -> None:
    """A second session without upstreams gets 404."""

    async def scenario() -> None:
        async with opened(echo) as (setup, _):
            setup.socket, setup.session_id = tmp_path / "other.sock", "ses-000000000002"
            await setup.gateway.open_endpoint(setup.endpoint())
            async with (
                ClientSession("http://sandbox", connector=UnixConnector(str(setup.socket))) as other,
                other.get("/api/x") as answer,
            ):
                assert answer.status == 404

    asyncio.run(scenario())


def test_cancelled_run_closes_every_endpoint(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(echo) as (setup, _):
            running = asyncio.create_task(setup.gateway.run())
            await asyncio.sleep(0)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            assert not setup.socket.exists()

    asyncio.run(scenario())
