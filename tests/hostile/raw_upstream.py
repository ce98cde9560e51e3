"""An upstream that records the bytes of its connections, and gateways of hostile and honest sessions before it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
from attrs import field, frozen, mutable
from nanoclaw_resource_gateway.gateway import SessionGateway
from nanoclaw_resource_gateway.host import nanoclaw_migrations
from nanoclaw_resource_gateway.settings import Settings

from nanoclaw_core import GatewayEndpoint, GroupId, PluginContext, SessionId, Upstream

KEY = "sk-ant-api03-the-real-one"
WAIT_S = 30.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@frozen(kw_only=True)
class RawRequest:
    """A request as it arrived: the words of its first line, its headers, and its body without chunks."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]] = field(repr=False)
    body: bytes = field(repr=False)
    chunk_sizes: list[int] = field(factory=list, repr=False)

    def values(self, name: bytes) -> list[bytes]:
        return [value for other, value in self.headers if other == name]


@mutable
class RawUpstream:
    """A server that parses requests by hand and keeps connections alive.

    Args:
        answers_early: True answers after the head, before it reads the body.
    """

    answers_early: bool = False
    port: int = 0
    requests: list[RawRequest] = field(factory=list)
    connections: int = 0
    heads: asyncio.Queue[bytes] = field(factory=asyncio.Queue)
    ended: asyncio.Queue[None] = field(factory=asyncio.Queue)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.put_nowait(head)
                if self.answers_early:
                    await _answer(writer, head)
                self.requests.append(await _read(head, reader))
                if not self.answers_early:
                    await _answer(writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await close(writer)
            self.ended.put_nowait(None)


async def _answer(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + b"ok" * (not head.startswith(b"HEAD ")))
    await writer.drain()


async def _read(head: bytes, reader: asyncio.StreamReader) -> RawRequest:
    first, *lines = head[:-4].split(b"\r\n")
    method, _, rest = first.decode("latin-1").partition(" ")
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    request = RawRequest(method=method, target=rest.rpartition(" ")[0], headers=headers, body=b"")
    body, chunk_sizes = b"", list[int]()
    if request.values(b"transfer-encoding"):
        while size := int((await reader.readline()).partition(b";")[0], 16):
            chunk_sizes.append(size)
            body += await reader.readexactly(size)
            await reader.readline()
        while await reader.readline() != b"\r\n":
            pass  # a trailer
    elif request.values(b"content-length"):
        body = await reader.readexactly(int(request.values(b"content-length")[0]))
    return RawRequest(method=method, target=request.target, headers=headers, body=body, chunk_sizes=chunk_sizes)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """Read the head of a reply, without an interim one."""
    async with asyncio.timeout(WAIT_S):
        while (head := await reader.readuntil(b"\r\n\r\n")).split()[1] == b"100":
            pass
    return head


@contextlib.asynccontextmanager
async def raw_upstream(*, answers_early: bool = False) -> AsyncIterator[RawUpstream]:
    """Serve on a free port."""
    upstream = RawUpstream(answers_early=answers_early)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()


@mutable
class GatewaySessions:
    """A gateway that opens the endpoint of a session for its first connection."""

    folder: Path
    gateway: SessionGateway
    database: apsw.Connection
    upstream: RawUpstream
    opening: asyncio.Lock = field(factory=asyncio.Lock)

    async def connect(self, session: str) -> Connection:
        """Connect as the sandbox of a session."""
        socket = self.folder / f"{session}.sock"
        async with self.opening:
            if not socket.exists():
                api = Upstream(
                    name="api", base_url=f"http://127.0.0.1:{self.upstream.port}", headers={"x-api-key": KEY}
                )
                endpoint = GatewayEndpoint(
                    session_id=SessionId(session), agent_group_id=GroupId("ag-1"), socket=socket, upstreams=[api]
                )
                await self.gateway.open_endpoint(endpoint)
        return await asyncio.open_unix_connection(str(socket))

    async def send(self, session: str, request: bytes) -> bytes:
        """Send the bytes of a request on a connection of its own, and return the head of the reply."""
        reader, writer = await self.connect(session)
        writer.write(request)
        try:
            return await read_head(reader)
        finally:
            await close(writer)

    async def close(self, *sessions: str) -> None:
        for session in sessions:
            await self.gateway.close_endpoint(SessionId(session))

    async def rows(self, session: str) -> list[tuple[object, ...]]:
        """Close the endpoint of a session, and return the records of its calls."""
        await self.close(session)
        columns = "method, path, status, error"
        return self.database.execute(
            f"SELECT {columns} FROM gateway_calls WHERE session_id = ? ORDER BY id", (session,)
        ).fetchall()


@contextlib.asynccontextmanager
async def gateway_sessions(
    folder: Path, upstream: RawUpstream, settings: Settings | None = None
) -> AsyncIterator[GatewaySessions]:
    """Run a gateway before an upstream."""
    database = apsw.Connection(str(folder / "gateway.db"))
    for migration in nanoclaw_migrations():
        migration.apply(database)
    context = PluginContext(
        plugin="gateway",
        instance_id="0" * 12,
        home=folder,
        data_dir=folder,
        run_dir=folder,
        environment={},
        database=database,
        settings=settings,
    )
    gateway = SessionGateway(settings, context)
    running = asyncio.create_task(gateway.run())
    try:
        yield GatewaySessions(folder=folder, gateway=gateway, database=database, upstream=upstream)
    finally:
        running.cancel()
        await asyncio.wait([running])
        database.close()
