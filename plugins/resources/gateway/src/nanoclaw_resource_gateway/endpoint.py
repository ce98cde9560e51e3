"""The endpoint of one session: a unix socket, its running calls and their records."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from nanoclaw_wire import clock
from nanoclaw_wire.unix_socket import bind_unix

from nanoclaw_core import GatewayEndpoint
from nanoclaw_resource_gateway.body import CHUNKS_PER_S, BodyReader
from nanoclaw_resource_gateway.door import BoundedServer, Listener
from nanoclaw_resource_gateway.forward import Forwarding, open_client
from nanoclaw_resource_gateway.headers import require_bounded_head
from nanoclaw_resource_gateway.pace import Pace
from nanoclaw_resource_gateway.recorder import CallRecorder
from nanoclaw_resource_gateway.rows import Call
from nanoclaw_resource_gateway.settings import Settings
from nanoclaw_resource_gateway.target import NotServed, Target, find_target, too_large

log = logging.getLogger("nanoclaw.gateway")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CONNECTIONS_PER_CALL = 4  # idle ones included; more would only waste file descriptors of the host
REQUESTS_PER_S = 64  # at least; an agent needs a few
CLOSE_S = 1.0
LINGER_S, LINGER_BYTES = 1.0, 1024**2
MAX_PATH_CHARACTERS, MAX_MODEL_CHARACTERS, MAX_TOKENS = 500, 80, 2**53


class EndpointServer:
    """Serves the endpoint of one session.

    Args:
        endpoint: The socket and the upstreams.
        settings: The limits of a session.
        environment: The environment of the host, for its proxy.
        recorder: Stores the records of the calls.
    """

    def __init__(
        self, endpoint: GatewayEndpoint, settings: Settings, environment: Mapping[str, str], recorder: CallRecorder
    ) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._environment, self._recorder = environment, recorder
        self._client = open_client(settings)
        self._tasks: set[asyncio.Task[object]] = set()
        self._running_calls = 0
        self._refusals: set[str] = set()
        self._max_connections = settings.max_calls * CONNECTIONS_PER_CALL
        self._pace = self._new_pace()
        self._chunk_pace = Pace(per_s=CHUNKS_PER_S, burst=2 * CHUNKS_PER_S)
        self._server = BoundedServer(self._serve, endpoint.session_id)
        self._listener: Listener | None = None

    async def listen(self) -> None:
        """Listen at the socket of the endpoint. Replace a socket that a dead host left."""
        bound = bind_unix(self._endpoint.socket, mode=0o666)
        self._listener = Listener(bound, self._server, limit=self._max_connections, pace=self._new_pace())

    async def close(self) -> None:
        """Stop listening, cancel the running calls and store their records."""
        self._endpoint.socket.unlink(missing_ok=True)
        if self._listener is not None:
            await self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.sleep(0)  # the calls see that they are cancelled
        self._server.pre_shutdown()
        await self._server.shutdown(CLOSE_S)
        await self._client.close()
        self._recorder.store()

    def _new_pace(self) -> Pace:
        per_s = max(REQUESTS_PER_S, self._max_connections)
        return Pace(per_s=per_s, burst=2 * per_s)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        self._tasks.add(task)
        try:
            await self._pace.wait()
            body = BodyReader(request, self._chunk_pace)
            reply = await self._answer(request, body)
            await _read_the_rest(request, body, reply)
            return reply
        finally:
            self._tasks.discard(task)

    async def _answer(self, request: web.BaseRequest, body: BodyReader) -> web.StreamResponse:
        self._running_calls += 1
        try:
            return await self._forward(request, body, self._require_permitted(request))
        except NotServed as refusal:
            return _error_reply(request, refusal)
        finally:
            self._running_calls -= 1

    def _require_permitted(self, request: web.BaseRequest) -> Target:
        """Return the target of the request.

        A refused request leaves no record, so that a sandbox cannot fill the database with them.

        Raises:
            NotServed: The request has no permitted target or exceeds a limit.
        """
        try:
            return self._find_permitted(request)
        except NotServed as refusal:
            extra = {"session": self._endpoint.session_id, "reason": refusal.record, "status": refusal.status}
            level = logging.DEBUG if refusal.record in self._refusals else logging.WARNING
            self._refusals.add(refusal.record)
            log.log(level, "model call refused", extra=extra)
            raise

    def _find_permitted(self, request: web.BaseRequest) -> Target:
        if request.method not in METHODS or "upgrade" in request.headers:
            raise NotServed(405, "invalid_request_error", "only plain HTTP requests are served", record="bad method")
        require_bounded_head(request.raw_path, request.headers.items())
        target = find_target(request.raw_path, self._endpoint.upstreams)
        if target.upstream.missing is not None:
            raise NotServed(401, "authentication_error", target.upstream.missing, record="no credential")
        if (request.content_length or 0) > self._settings.max_request_bytes:
            raise too_large(self._settings.max_request_mib)
        if self._running_calls > self._settings.max_calls:
            message = f"too many concurrent calls, at most {self._settings.max_calls} are allowed. Retry later"
            raise NotServed(429, "rate_limit_error", message, record="too many calls")
        return target

    async def _forward(self, request: web.BaseRequest, body: BodyReader, target: Target) -> web.StreamResponse:
        began_at, began_s = clock.now_text(), time.monotonic()
        session_id = self._endpoint.session_id
        forwarding = Forwarding(request, body, target, self._client, self._settings, self._environment, session_id)
        try:
            return await forwarding.run()
        except NotServed as refusal:
            forwarding.status, forwarding.error = refusal.status, refusal.record
            raise
        except asyncio.CancelledError:
            forwarding.error = forwarding.error or "client gone"
            raise
        finally:
            self._record(request.method, target, forwarding, began_at, began_s)

    def _record(self, method: str, target: Target, forwarding: Forwarding, began_at: str, began_s: float) -> None:
        count = forwarding.count()
        call = Call(
            at=began_at,
            agent_group_id=self._endpoint.agent_group_id,
            session_id=self._endpoint.session_id,
            upstream=target.upstream.name,
            method=method,
            path=target.path[:MAX_PATH_CHARACTERS],
            status=forwarding.status,
            duration_ms=round((time.monotonic() - began_s) * 1000),
            model=None if count.model is None else _storable(count.model[:MAX_MODEL_CHARACTERS]),
            input_tokens=_bounded(count.input_tokens),
            output_tokens=_bounded(count.output_tokens),
            error=forwarding.error,
        )
        self._recorder.record(call)
        extra = {"session": call.session_id, "upstream": call.upstream, "status": call.status, "reason": call.error}
        log.debug("model call", extra=extra)


async def _read_the_rest(request: web.BaseRequest, body: BodyReader, reply: web.StreamResponse) -> None:
    """Send the reply, then read and discard the rest of an ordinary body.

    Many clients send their whole body before they read a reply. The connection closes if the body is longer.
    """
    if request.content.is_eof() or request.transport is None or request.transport.is_closing():
        return
    try:
        await reply.prepare(request)
        await reply.write_eof()
        left_bytes = LINGER_BYTES
        async with asyncio.timeout(LINGER_S):
            while left_bytes > 0 and not body.is_at_end:
                left_bytes -= len(await body.read(LINGER_S))
    except (TimeoutError, OSError, RequestPayloadError):
        pass  # the connection closes


def _error_reply(request: web.BaseRequest, refusal: NotServed) -> web.StreamResponse:
    is_final = refusal.status in (400, 401, 404, 405, 413, 431)
    headers = {"x-should-retry": "false"} if is_final else {"retry-after": "1"}
    body = {"type": "error", "error": {"type": refusal.kind, "message": refusal.message}}
    reply = web.json_response(body, status=refusal.status, headers=headers)
    if request.can_read_body:  # the body may be too long to read it only to reuse the connection
        reply.force_close()
    return reply


def _storable(text: str) -> str:
    """Return text that SQLite can store, also if an answer has lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _bounded(tokens: int | None) -> int | None:
    """Return a count that the table accepts, whatever an answer says."""
    return None if tokens is None else min(max(tokens, 0), MAX_TOKENS)
