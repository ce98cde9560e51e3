"""The gateway: one endpoint per session, and one pool of upstream connections."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from nanoclaw_core import GatewayEndpoint, PluginContext, SessionId
from nanoclaw_resource_gateway.settings import Settings

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from nanoclaw_resource_gateway.endpoint import EndpointServer


class SessionGateway:
    """A `Gateway`.

    It imports aiohttp for the first endpoint, because a host without sandboxes does not need it.
    """

    def __init__(self, settings: Settings | None, context: PluginContext) -> None:
        self._settings, self._context = settings or Settings(), context
        self._servers: dict[SessionId, EndpointServer] = {}
        self._client: ClientSession | None = None

    async def run(self) -> None:
        """Wait until cancelled, then close every endpoint."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._close()

    async def open_endpoint(self, endpoint: GatewayEndpoint) -> None:
        """Serve the endpoint of a session. Close its earlier endpoint first."""
        await asyncio.to_thread(
            importlib.import_module, "nanoclaw_resource_gateway.endpoint"
        )  # takes 0.2 s the first time
        from nanoclaw_resource_gateway.endpoint import EndpointServer

        await self.close_endpoint(endpoint.session_id)
        server = EndpointServer(endpoint, self._http_client(), self._settings, self._context)
        await server.listen()
        self._servers[endpoint.session_id] = server

    async def close_endpoint(self, session_id: SessionId) -> None:
        """Stop listening for a session and cancel its calls.

        Do nothing if it has no endpoint.
        """
        server = self._servers.pop(session_id, None)
        if server is not None:
            await server.close()

    async def _close(self) -> None:
        for session_id in list(self._servers):
            await self.close_endpoint(session_id)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _http_client(self) -> ClientSession:
        if self._client is None:
            from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

            connect_s, idle_s = self._settings.connect_timeout_s, self._settings.idle_timeout_s
            self._client = ClientSession(
                connector=TCPConnector(limit=0),  # each endpoint enforces the limit of its session
                cookie_jar=DummyCookieJar(),  # sessions must not share cookies
                timeout=ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s, sock_read=idle_s),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            )
        return self._client
