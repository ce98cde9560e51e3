"""A gateway with a real socket and a real database, in front of a real HTTP server."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from aiohttp import ClientSession, UnixConnector, web
from nanoclaw_resource_gateway.gateway import SessionGateway
from nanoclaw_resource_gateway.rows import create_calls
from nanoclaw_resource_gateway.settings import Settings

from nanoclaw_core import Door, GroupId, PluginContext, SessionId, Upstream

SECRET = "sk-ant-api03-the-real-one"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Place:
    """One gateway with one open door, and a client on the sandbox's side of it."""

    def __init__(self, tmp_path: Path, settings: Settings, environment: dict[str, str]) -> None:
        self.database = apsw.Connection(":memory:")
        create_calls(self.database)
        self.context = PluginContext(
            plugin="gateway",
            instance_id="0" * 12,
            home=tmp_path,
            data_dir=tmp_path,
            run_dir=tmp_path,
            environment=environment,
            database=self.database,
            settings=settings,
        )
        self.socket = tmp_path / "gateway.sock"
        self.gateway = SessionGateway(settings, self.context)
        self.session_id = SessionId("ses-000000000001")

    def door(self, *upstreams: Upstream) -> Door:
        """Describe the door."""
        return Door(
            session_id=self.session_id,
            agent_group_id=GroupId("ag-000000000001"),
            socket=self.socket,
            upstreams=upstreams,
        )

    def calls(self) -> list[dict[str, Any]]:
        """Return the record, oldest first."""
        cursor = self.database.execute("SELECT * FROM gateway_calls ORDER BY id")
        return [dict(zip([column[0] for column in cursor.getdescription()], row, strict=True)) for row in cursor]

    async def close(self) -> None:
        """Do what the end of `run` does."""
        await self.gateway._close()


@contextlib.asynccontextmanager
async def upstream_server(handler: Handler) -> AsyncIterator[str]:
    """Serve every path by one handler, and give the address."""
    app = web.Application(client_max_size=1024**3)
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., contextlib.AbstractAsyncContextManager[tuple[Place, ClientSession]]]:
    """Return what opens a door to a handler, or to a base address."""

    @contextlib.asynccontextmanager
    async def open_place(
        to: Handler | str,
        *,
        settings: Settings | None = None,
        environment: dict[str, str] | None = None,
        **upstream: Any,
    ) -> AsyncIterator[tuple[Place, ClientSession]]:
        place = Place(tmp_path, settings or Settings(), environment or {})
        async with contextlib.AsyncExitStack() as stack:
            base_url = to if isinstance(to, str) else await stack.enter_async_context(upstream_server(to))
            described = {"name": "api", "base_url": base_url, "headers": {"x-api-key": SECRET}} | upstream
            await place.gateway.open_door(place.door(Upstream(**described)))
            stack.push_async_callback(place.close)
            client = ClientSession("http://sandbox", connector=UnixConnector(str(place.socket)))
            yield place, await stack.enter_async_context(client)

    return open_place


@pytest.fixture
def unused_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serving() -> Callable[[Handler], contextlib.AbstractAsyncContextManager[str]]:
    """Return what serves every path by one handler."""
    return upstream_server
