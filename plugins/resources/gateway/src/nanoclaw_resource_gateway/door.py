"""One session's door: a unix socket, the calls that are under way behind it, and their record."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from pathlib import Path

import apsw
from aiohttp import ClientSession, web
from nanoclaw_wire import clock
from nanoclaw_wire.socket_path import short_path

from nanoclaw_core import Door, PluginContext, TokenCount
from nanoclaw_resource_gateway.forward import Forwarding
from nanoclaw_resource_gateway.rows import Call, insert_call
from nanoclaw_resource_gateway.settings import Settings
from nanoclaw_resource_gateway.target import NotServed, Target, find_target, too_large

log = logging.getLogger("nanoclaw.gateway")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CONNECTIONS_PER_CALL = 4  # idle ones included; beyond that somebody plays with the host's descriptors
CLOSE_S = 1.0


class OpenDoor:
    """Serves one session.

    Args:
        door: Where to listen, and what is served there.
        client: To the upstreams.
    """

    def __init__(self, door: Door, client: ClientSession, settings: Settings, context: PluginContext) -> None:
        self._door, self._client, self._settings, self._context = door, client, settings, context
        self._calls: set[asyncio.Task[object]] = set()
        server = _BoundedServer(self._serve, settings.max_calls * CONNECTIONS_PER_CALL)
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=CLOSE_S)

    async def listen(self) -> None:
        """Listen at the door's socket; one that a dead host left there is replaced."""
        await self._runner.setup()
        try:
            await web.SockSite(self._runner, _bound(self._door.socket)).start()
        except BaseException:
            await self._runner.cleanup()
            raise

    async def close(self) -> None:
        """Stop listening, and end what is under way."""
        self._door.socket.unlink(missing_ok=True)
        for call in list(self._calls):
            call.cancel()
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        self._calls.add(task)
        record = _Record(request)
        try:
            return await self._answer(request, record)
        except asyncio.CancelledError:
            record.error = record.error or "client gone"
            raise
        finally:
            self._calls.discard(task)
            self._keep(record)

    async def _answer(self, request: web.BaseRequest, record: _Record) -> web.StreamResponse:
        try:
            target = self._permitted(request, record)
            forwarding = Forwarding(request, target, self._client, self._settings, self._context.environment)
            try:
                return await forwarding.run()
            finally:
                record.status, record.error, record.count = forwarding.status, forwarding.error, forwarding.count()
        except NotServed as refusal:
            record.status, record.error = refusal.status, refusal.record
            return _refuse(request, refusal)

    def _permitted(self, request: web.BaseRequest, record: _Record) -> Target:
        """Return where the request may go.

        Raises:
            NotServed: Nowhere.
        """
        if request.method not in METHODS or "upgrade" in request.headers:
            raise NotServed(405, "invalid_request_error", "only plain HTTP requests are served", record="bad method")
        target = find_target(request.raw_path, self._door.upstreams)
        record.path = target.path
        if target.upstream.missing is not None:
            raise NotServed(401, "authentication_error", target.upstream.missing, record="no credential")
        if (request.content_length or 0) > self._settings.max_request_bytes:
            raise too_large(self._settings.max_request_mib)
        if len(self._calls) > self._settings.max_calls:
            message = f"more than {self._settings.max_calls} calls at once"
            raise NotServed(429, "rate_limit_error", message, record="too many calls")
        return target

    def _keep(self, record: _Record) -> None:
        call = record.as_call(self._door)
        try:
            insert_call(self._context.database, call)
        except apsw.Error as error:  # the answer went out; a missing row is the smaller harm, and the log says so
            log.error("call not recorded", extra={"session": call.session_id, "error": str(error)})
        extra = {"session": call.session_id, "upstream": call.upstream, "status": call.status, "reason": call.error}
        log.debug("model call", extra=extra)


class _Record:
    """What is kept of a call, as it becomes known."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._at, self._began_s = clock.now_text(), time.monotonic()
        raw = request.raw_path.partition("?")[0]
        self.method, self.upstream = request.method, raw.removeprefix("/").partition("/")[0]
        self.path = raw.removeprefix(f"/{self.upstream}")
        self.status: int | None = None
        self.error: str | None = None
        self.count = TokenCount()

    def as_call(self, door: Door) -> Call:
        """Return the row."""
        return Call(
            at=self._at,
            agent_group_id=door.agent_group_id,
            session_id=door.session_id,
            upstream=_storable(self.upstream),
            method=_storable(self.method),
            path=_storable(self.path),
            status=self.status,
            duration_ms=round((time.monotonic() - self._began_s) * 1000),
            model=self.count.model,
            input_tokens=self.count.input_tokens,
            output_tokens=self.count.output_tokens,
            error=self.error,
        )


class _BoundedServer(web.Server):
    """Hangs up on more connections than a door may have."""

    def __init__(self, handler: web.RequestHandler | object, limit: int) -> None:
        super().__init__(handler, handler_cancellation=True, access_log=None)  # type: ignore[arg-type]  # a coroutine function
        self._limit = limit

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count, and hang up where it is one too many."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._limit:
            transport.abort()


def _refuse(request: web.BaseRequest, refusal: NotServed) -> web.StreamResponse:
    headers = {"x-should-retry": "false"} if refusal.status in (400, 401, 404, 405, 413) else {"retry-after": "1"}
    body = {"type": "error", "error": {"type": refusal.kind, "message": refusal.message}}
    reply = web.json_response(body, status=refusal.status, headers=headers)
    if request.can_read_body:  # what is left of the body is not read just to keep the connection
        reply.force_close()
    return reply


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            listening.bind(name)
        path.chmod(0o666)  # the sandbox's user is another one; the directories above are the fence
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _storable(text: str) -> str:
    """Return text that SQLite takes: raw bytes of a request line arrive as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
