"""Fixtures: a gateway with a real socket and a real database, in front of a real HTTP server."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from aiohttp import ClientSession, UnixConnector, web
from gateway_requests import SECRET
from nanoclaw_resource_gateway.gateway import SessionGateway
from nanoclaw_resource_gateway.rows import create_calls, create_unrecorded
from nanoclaw_resource_gateway.settings import Settings

from nanoclaw_core import GatewayEndpoint, GroupId, PluginContext, SessionId, Upstream

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class GatewaySetup:
    """A gateway, its database and the description of its endpoint."""

    def __init__(self, tmp_path: Path, settings: Settings, environment: dict[str, str]) -> None:
        self.database = apsw.Connection(":memory:")
        create_calls(self.database)
        create_unrecorded(self.database)
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

    def endpoint(self, *upstreams: Upstream) -> GatewayEndpoint:
        """Return the description of the endpoint."""
        return GatewayEndpoint(
            session_id=self.session_id,
            agent_group_id=GroupId("ag-000000000001"),
            socket=self.socket,
            upstreams=upstreams,
        )

    def calls(self) -> list[dict[str, Any]]:
        """Return the records of calls, oldest first."""
        cursor = self.database.execute("SELECT * FROM gateway_calls ORDER BY id")
        return [dict(zip([column[0] for column in cursor.getdescription()], row, strict=True)) for row in cursor]

    async def close(self) -> None:
        """Close the gateway as the end of `run` does."""
        await self.gateway._close()


@contextlib.asynccontextmanager
async def upstream_server(handler: Handler) -> AsyncIterator[str]:
    """Serve every path with one handler, and yield the address."""
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
def opened(tmp_path: Path) -> Callable[..., contextlib.AbstractAsyncContextManager[tuple[GatewaySetup, ClientSession]]]:
    """Return a function that opens an endpoint for a handler or a base address."""

    @contextlib.asynccontextmanager
    async def open_endpoint(
        upstream_or_url: Handler | str,
        *,
        settings: Settings | None = None,
        environment: dict[str, str] | None = None,
        **upstream: Any,
    ) -> AsyncIterator[tuple[GatewaySetup, ClientSession]]:
        setup = GatewaySetup(tmp_path, settings or Settings(), environment or {})
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(upstream_or_url, str):
                base_url = upstream_or_url
            else:
                base_url = await stack.enter_async_context(upstream_server(upstream_or_url))
            described = {"name": "api", "base_url": base_url, "headers": {"x-api-key": SECRET}} | upstream
            await setup.gateway.open_endpoint(setup.endpoint(Upstream(**described)))
            stack.push_async_callback(setup.close)
            client = ClientSession("http://sandbox", connector=UnixConnector(str(setup.socket)))
            yield setup, await stack.enter_async_context(client)

    return open_endpoint


@pytest.fixture
def unused_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serving() -> Callable[[Handler], contextlib.AbstractAsyncContextManager[str]]:
    """Return a function that serves every path with one handler."""
    return upstream_server
