"""The door of one session: accepts a sandbox's connections and parses their requests, within limits."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError
from nanoclaw_wire.log_lines import describe

from nanoclaw_core import SessionId
from nanoclaw_resource_gateway.body import READ_BUFFER_BYTES
from nanoclaw_resource_gateway.headers import MAX_FIELD_BYTES, MAX_HEADERS
from nanoclaw_resource_gateway.pace import Pace

log = logging.getLogger("nanoclaw.gateway")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
BACKLOG = 128
ACCEPT_AGAIN_S = 1.0


class BoundedServer(web.Server):
    """Parses requests of one session's sandbox, and passes bodies on as the bytes that were sent.

    Args:
        handler: Answers a request.
        session_id: The session, for the log.
    """

    def __init__(self, handler: Handler, session_id: SessionId) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._session_id = session_id

    def __call__(self) -> web.RequestHandler:
        """Return the protocol for a new connection."""
        return _Connection(self, self._session_id)


class _Connection(web.RequestHandler):
    """A connection. aiohttp would log each malformed request with a traceback and its text."""

    __slots__ = ("_session_id",)

    def __init__(self, server: web.Server, session_id: SessionId) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None is allowed and switches it off
            auto_decompress=False,  # the upstream gets the bytes, as their Content-Length says; nothing is unpacked
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=0,  # the endpoint itself reads the rest of a body
        )
        self._session_id = session_id

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Reply to a malformed request, or to one whose handler failed."""
        self.log_exception(exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the reply has already begun")
        reply = web.Response(status=status, text="malformed request\n" if status == 400 else "the gateway failed\n")
        reply.force_close()
        return reply

    def log_exception(self, *_args: object, exc_info: BaseException | None = None, **_more: object) -> None:
        """Log an error, in detail only if the gateway and not the sandbox caused it."""
        extra = {"session": self._session_id, "error": type(exc_info).__name__}
        if exc_info is None or isinstance(exc_info, HttpProcessingError | RequestPayloadError):
            log.debug("malformed request", extra=extra)
        else:
            log.error("request failed", extra=extra | describe(exc_info))


class Listener:
    """Accepts connections, not faster than `pace`, and closes those beyond a limit.

    Each accepted connection costs time of the event loop, so a sandbox must not choose how many it makes.
    """

    def __init__(self, bound: socket.socket, server: web.Server, *, limit: int, pace: Pace) -> None:
        self._socket, self._server, self._limit, self._pace = bound, server, limit, pace
        bound.listen(BACKLOG)
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Stop accepting."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._pace.wait()
            await self._wait_for_connection()
            try:
                connection, _ = self._socket.accept()
                connection.setblocking(False)
                if len(self._server.connections) >= self._limit:
                    connection.close()
                else:
                    await loop.connect_accepted_socket(self._server, connection)
            except BlockingIOError:
                pass  # the sandbox hung up
            except OSError as error:  # the host has too many open files
                log.warning("connection not accepted", extra={"error": type(error).__name__})
                await asyncio.sleep(ACCEPT_AGAIN_S)

    async def _wait_for_connection(self) -> None:
        """Wait for a connection, but do not accept it: a cancelled `loop.sock_accept` may lose an open socket."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._socket, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._socket)
