"""The endpoint of one session: a unix socket, its running calls and their records."""

from __future__ import annotations

import asyncio
import logging
import time

import apsw
from aiohttp import ClientSession, web
from nanoclaw_wire import clock
from nanoclaw_wire.unix_socket import bind_unix

from nanoclaw_core import GatewayEndpoint, PluginContext, TokenCount
from nanoclaw_resource_gateway.forward import Forwarding
from nanoclaw_resource_gateway.rows import Call, insert_call
from nanoclaw_resource_gateway.settings import Settings
from nanoclaw_resource_gateway.target import NotServed, Target, find_target, too_large

log = logging.getLogger("nanoclaw.gateway")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CONNECTIONS_PER_CALL = 4  # idle ones included; more would only waste file descriptors of the host
CLOSE_S = 1.0


class EndpointServer:
    """Serves the endpoint of one session.

    Args:
        endpoint: The socket and the upstreams.
        client: The HTTP client for the upstreams.
        settings: The limits of a session.
        context: The host, which stores the records.
    """

    def __init__(
        self, endpoint: GatewayEndpoint, client: ClientSession, settings: Settings, context: PluginContext
    ) -> None:
        self._endpoint, self._client, self._settings, self._context = endpoint, client, settings, context
        self._calls: set[asyncio.Task[object]] = set()
        server = _BoundedServer(self._serve, settings.max_calls * CONNECTIONS_PER_CALL)
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=CLOSE_S)

    async def listen(self) -> None:
        """Listen at the socket of the endpoint. Replace a socket that a dead host left."""
        await self._runner.setup()
        try:
            await web.SockSite(self._runner, bind_unix(self._endpoint.socket, mode=0o666)).start()
        except BaseException:
            await self._runner.cleanup()
            raise

    async def close(self) -> None:
        """Stop listening and cancel the running calls."""
        self._endpoint.socket.unlink(missing_ok=True)
        for call in list(self._calls):
            call.cancel()
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        self._calls.add(task)
        record = _CallRecord(request)
        try:
            return await self._answer(request, record)
        except asyncio.CancelledError:
            record.error = record.error or "client gone"
            raise
        finally:
            self._calls.discard(task)
            self._store(record)

    async def _answer(self, request: web.BaseRequest, record: _CallRecord) -> web.StreamResponse:
        try:
            target = self._require_permitted(request, record)
            forwarding = Forwarding(request, target, self._client, self._settings, self._context.environment)
            try:
                return await forwarding.run()
            finally:
                record.status, record.error, record.count = forwarding.status, forwarding.error, forwarding.count()
        except NotServed as refusal:
            record.status, record.error = refusal.status, refusal.record
            return _error_reply(request, refusal)

    def _require_permitted(self, request: web.BaseRequest, record: _CallRecord) -> Target:
        """Return the target of the request.

        Raises:
            NotServed: The request has no permitted target or exceeds a limit.
        """
        if request.method not in METHODS or "upgrade" in request.headers:
            raise NotServed(405, "invalid_request_error", "only plain HTTP requests are served", record="bad method")
        target = find_target(request.raw_path, self._endpoint.upstreams)
        record.path = target.path
        if target.upstream.missing is not None:
            raise NotServed(401, "authentication_error", target.upstream.missing, record="no credential")
        if (request.content_length or 0) > self._settings.max_request_bytes:
            raise too_large(self._settings.max_request_mib)
        if len(self._calls) > self._settings.max_calls:
            message = f"too many concurrent calls, at most {self._settings.max_calls} are allowed. Retry later"
            raise NotServed(429, "rate_limit_error", message, record="too many calls")
        return target

    def _store(self, record: _CallRecord) -> None:
        call = record.as_call(self._endpoint)
        try:
            insert_call(self._context.database, call)
        except apsw.Error as error:  # the answer is already sent, so a logged gap in the records is the smaller harm
            log.error("call not recorded", extra={"session": call.session_id, "error": str(error)})
        extra = {"session": call.session_id, "upstream": call.upstream, "status": call.status, "reason": call.error}
        log.debug("model call", extra=extra)


class _CallRecord:
    """The facts of a call, collected while it runs."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._at, self._began_s = clock.now_text(), time.monotonic()
        raw = request.raw_path.partition("?")[0]
        self.method, self.upstream = request.method, raw.removeprefix("/").partition("/")[0]
        self.path = raw.removeprefix(f"/{self.upstream}")
        self.status: int | None = None
        self.error: str | None = None
        self.count = TokenCount()

    def as_call(self, endpoint: GatewayEndpoint) -> Call:
        """Return the row for the database."""
        return Call(
            at=self._at,
            agent_group_id=endpoint.agent_group_id,
            session_id=endpoint.session_id,
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
    """A server that aborts connections beyond a limit."""

    def __init__(self, handler: web.RequestHandler | object, limit: int) -> None:
        super().__init__(handler, handler_cancellation=True, access_log=None)  # type: ignore[arg-type]  # a coroutine function
        self._limit = limit

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Accept a connection, or abort it if the limit is reached."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._limit:
            transport.abort()


def _error_reply(request: web.BaseRequest, refusal: NotServed) -> web.StreamResponse:
    headers = {"x-should-retry": "false"} if refusal.status in (400, 401, 404, 405, 413) else {"retry-after": "1"}
    body = {"type": "error", "error": {"type": refusal.kind, "message": refusal.message}}
    reply = web.json_response(body, status=refusal.status, headers=headers)
    if request.can_read_body:  # do not read the rest of the body only to reuse the connection
        reply.force_close()
    return reply


def _storable(text: str) -> str:
    """Return text that SQLite can store.

    Raw bytes of a request line arrive as lone surrogates.
    """
    return text.encode("utf-8", "backslashreplace").decode()
