"""Forwards one call: streams the request up and the answer down.

It reads the token usage meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

from nanoclaw_core import SessionId, TokenCount, UsageReader
from nanoclaw_resource_gateway.body import SMALL_BYTES, BodyReader
from nanoclaw_resource_gateway.headers import answer_headers, is_plain, request_headers
from nanoclaw_resource_gateway.proxies import proxy_for
from nanoclaw_resource_gateway.settings import Settings
from nanoclaw_resource_gateway.target import NotServed, Target, too_large

log = logging.getLogger("nanoclaw.gateway")


def open_client(settings: Settings) -> ClientSession:
    """Return an HTTP client with its own connections to the upstreams.

    Each session has its own, so that nothing which a sandbox does to a connection reaches another one's call.
    """
    connect_s, idle_s = settings.connect_timeout_s, settings.idle_timeout_s
    return ClientSession(
        connector=TCPConnector(limit=0),  # the endpoint enforces the limit
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s, sock_read=idle_s),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
    )


class Forwarding:
    """Forwards one call.

    Back-pressure keeps at most a few hundred KiB of it in memory.

    Args:
        request: The request of the sandbox.
        body: The body of the request.
        target: The permitted target of the request.
        client: The HTTP client for the upstreams.
        settings: The limits of a session.
        environment: The environment of the host, for its proxy.
        session_id: The session, for the log.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        body: BodyReader,
        target: Target,
        client: ClientSession,
        settings: Settings,
        environment: Mapping[str, str],
        session_id: SessionId,
    ) -> None:
        self._request, self._incoming, self._target, self._client = request, body, target, client
        self._settings, self._environment, self._session_id = settings, environment, session_id
        self._refusal: NotServed | None = None  # raised while the body is sent, where aiohttp replaces exceptions
        self._reply: web.StreamResponse | None = None
        self._usage: UsageReader | None = None
        self.status: int | None = None
        self.error: str | None = None

    def count(self) -> TokenCount:
        """Return the token usage that the answer reported so far."""
        return TokenCount() if self._usage is None else self._usage.count()

    async def run(self) -> web.StreamResponse:
        """Forward the call, and return the reply that was sent.

        Raises:
            NotServed: The call failed before the reply began.
        """
        try:
            async with self._client.request(
                self._request.method,
                URL(self._target.url, encoded=True),
                headers=CIMultiDict(request_headers(self._request.headers.items(), self._target.upstream)),
                data=self._body() if self._request.body_exists else None,
                allow_redirects=False,  # a redirect could lead anywhere and would carry the key
                proxy=proxy_for(self._target.url, self._environment),
            ) as answer:
                return await self._stream_reply(answer)
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            if self._refusal is not None:
                raise self._refusal from None
            if self._reply is not None:
                return self._break_off(self._reply, error)
            raise self._unreachable(error) from None  # the text of the error may contain the address with its secrets

    async def _body(self) -> AsyncIterator[bytes]:
        if self._request.headers.get("expect", "").lower() == "100-continue":
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0  # the interim response does not count as output
        body, declared_bytes = self._incoming, self._request.content_length
        while not body.is_at_end:
            part = await self._next_part()
            if body.size_bytes > self._settings.max_request_bytes:
                raise self._broken_by(too_large(self._settings.max_request_mib))
            if body.has_small_chunks:
                message = f"the request body has too many chunks below {SMALL_BYTES} bytes. Send larger chunks"
                raise self._broken_by(NotServed(400, "invalid_request_error", message, record="small chunks"))
            yield part
        if declared_bytes is not None and body.size_bytes != declared_bytes:
            # The upstream waits for the rest. On a reused connection it would take the next call for it.
            message = f"the request body has {body.size_bytes} bytes, but its Content-Length says {declared_bytes}"
            raise self._broken_by(NotServed(400, "invalid_request_error", message, record="cut body"))

    async def _next_part(self) -> bytes:
        try:
            return await self._incoming.read(self._settings.idle_timeout_s)
        except TimeoutError:
            message = f"no byte of the request body arrived for {self._settings.idle_timeout_s:g} s"
            raise self._broken_by(NotServed(408, "api_error", message, record="body timed out")) from None

    def _broken_by(self, refusal: NotServed) -> ValueError:
        """Return the error that makes aiohttp close the upstream's connection before the body is complete."""
        self._refusal = refusal
        return ValueError(refusal.record)

    async def _stream_reply(self, answer: ClientResponse) -> web.StreamResponse:
        if 300 <= answer.status < 400 and answer.status != 304:
            message = (
                f"{self._target.upstream.name} answered with a redirect ({answer.status}). Redirects are not followed"
            )
            raise NotServed(502, "api_error", message, record="redirect")
        headers = CIMultiDict(answer_headers(answer.headers.items()))
        if answer.status in (401, 403):
            # The credential is the host's, so a retry gets the same answer. Anthropic's client would retry five times.
            headers.setdefault("x-should-retry", "false")
        reason = answer.reason if is_plain(answer.reason or "") else None
        reply = web.StreamResponse(status=answer.status, reason=reason, headers=headers)
        self.status = answer.status
        self._usage = self._reader(answer)
        self._reply = reply
        await reply.prepare(self._request)
        async for chunk in answer.content.iter_any():
            if self._usage is not None:
                self._usage.feed(chunk)
            async with asyncio.timeout(self._settings.idle_timeout_s):
                await reply.write(chunk)
        await reply.write_eof()
        return reply

    def _reader(self, answer: ClientResponse) -> UsageReader | None:
        make = self._target.upstream.usage
        is_plain = answer.headers.get("content-encoding", "identity").lower() == "identity"
        return make(answer.headers.get("content-type", "")) if make is not None and is_plain else None

    def _break_off(self, reply: web.StreamResponse, error: Exception) -> web.StreamResponse:
        """Abort the connection, so that no partial answer looks complete to the client."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            self.error = "client gone"
        else:
            self.error = "timed out" if isinstance(error, TimeoutError) else "broken off"
            transport.abort()
        return reply

    def _unreachable(self, error: Exception) -> NotServed:
        """Return the error for an unreachable upstream.

        Log the kind of the error, but never its text.
        """
        name, kind = self._target.upstream.name, type(error).__name__
        log.warning("upstream not reached", extra={"session": self._session_id, "upstream": name, "error": kind})
        if isinstance(error, TimeoutError):
            return NotServed(504, "api_error", f"{name} did not answer in time ({kind})", record="timed out")
        return NotServed(502, "api_error", f"{name} cannot be reached ({kind})", record="unreachable")
