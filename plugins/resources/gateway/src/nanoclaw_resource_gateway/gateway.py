"""The gateway: one endpoint per session, each with its own connections to the upstreams."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from nanoclaw_core import GatewayEndpoint, PluginContext, SessionId
from nanoclaw_resource_gateway.proxies import require_supported_proxies
from nanoclaw_resource_gateway.recorder import CallRecorder
from nanoclaw_resource_gateway.settings import Settings

if TYPE_CHECKING:
    from nanoclaw_resource_gateway.endpoint import EndpointServer


class SessionGateway:
    """A `Gateway`.

    It imports aiohttp for the first endpoint, because a host without sandboxes does not need it.

    Raises:
        SettingsError: The environment names a proxy that the gateway cannot use.
    """

    def __init__(self, settings: Settings | None, context: PluginContext) -> None:
        require_supported_proxies(context.environment)
        self._settings, self._context = settings or Settings(), context
        self._recorder = CallRecorder(context.database, self._settings.max_records)
        self._servers: dict[SessionId, EndpointServer] = {}

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
        server = EndpointServer(endpoint, self._settings, self._context.environment, self._recorder)
        try:
            await server.listen()
        except BaseException:
            await server.close()
            raise
        self._servers[endpoint.session_id] = server

    async def close_endpoint(self, session_id: SessionId) -> None:
        """Stop listening for a session, cancel its calls and store their records.

        Do nothing if it has no endpoint.
        """
        server = self._servers.pop(session_id, None)
        if server is not None:
            await server.close()

    async def _close(self) -> None:
        for session_id in list(self._servers):
            await self.close_endpoint(session_id)
