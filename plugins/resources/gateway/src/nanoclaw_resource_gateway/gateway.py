"""The gateway: one door per session, one pool of connections to the upstreams behind all of them."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from nanoclaw_core import Door, PluginContext, SessionId
from nanoclaw_resource_gateway.settings import Settings

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from nanoclaw_resource_gateway.door import OpenDoor


class SessionGateway:
    """A `Gateway`. Its HTTP machinery is loaded at the first door, because a host without sandboxes needs none."""

    def __init__(self, settings: Settings | None, context: PluginContext) -> None:
        self._settings, self._context = settings or Settings(), context
        self._doors: dict[SessionId, OpenDoor] = {}
        self._client: ClientSession | None = None

    async def run(self) -> None:
        """Wait to be cancelled, then close every door."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._close()

    async def open_door(self, door: Door) -> None:
        """Listen for one session."""
        await asyncio.to_thread(importlib.import_module, "nanoclaw_resource_gateway.door")  # 0.2 s, the first time
        from nanoclaw_resource_gateway.door import OpenDoor

        await self.close_door(door.session_id)
        opened = OpenDoor(door, self._connections(), self._settings, self._context)
        await opened.listen()
        self._doors[door.session_id] = opened

    async def close_door(self, session_id: SessionId) -> None:
        """Stop listening and end what is under way."""
        door = self._doors.pop(session_id, None)
        if door is not None:
            await door.close()

    async def _close(self) -> None:
        for session_id in list(self._doors):
            await self.close_door(session_id)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connections(self) -> ClientSession:
        if self._client is None:
            from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

            connect_s, idle_s = self._settings.connect_timeout_s, self._settings.idle_timeout_s
            self._client = ClientSession(
                connector=TCPConnector(limit=0),  # the limit is per session, at its door
                cookie_jar=DummyCookieJar(),  # one session's cookies are nothing for another's
                timeout=ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s, sock_read=idle_s),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            )
        return self._client
