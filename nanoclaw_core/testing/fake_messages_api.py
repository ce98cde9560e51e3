"""A local fake of the Anthropic Messages API, for tests with the real `claude` program and no network.

It implements https://docs.anthropic.com/en/api/messages, with and without streaming, and follows a script (see
`messages_script`). Like the platform, it refuses a missing or wrong key with 401 and a malformed body with 400.

    async with FakeMessagesApi([Step(tool="Bash", input={"command": "date"}), Step(text="done")]) as api:
        ...  # ANTHROPIC_BASE_URL=api.url, ANTHROPIC_API_KEY=api.key
        assert api.conversations[0].says("hello")

From the command line, `python -m nanoclaw_core.testing.fake_messages_api --port 0 --script FILE` prints its address.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import field, frozen

from nanoclaw_core.testing.messages_protocol import Answer, Refused, check_body, events_of
from nanoclaw_core.testing.messages_script import Script, Step, last_said, read_script, texts_of

if TYPE_CHECKING:
    from aiohttp import web

DEFAULT_KEY = "sk-ant-api03-only-for-tests"
MAX_BODY_BYTES = 32 * 1024**2  # the platform's own limit


@frozen(kw_only=True)
class RecordedRequest:
    """One received request.

    Args:
        method: The HTTP method.
        path: The path, without the query.
        headers: The headers, with lower-case names.
        body: Decoded JSON; None if the body is empty or invalid.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = field(default=None, repr=False)

    def says(self, text: str) -> bool:
        """Return True if a message of the conversation contains a text, so that the model can know it."""
        return any(text in content for message in self._messages() for content in texts_of(message))

    @property
    def last_said(self) -> str:
        """The text of the newest user message."""
        return last_said(self.body or {})

    @property
    def system(self) -> str:
        """The system prompt."""
        return "\n".join(texts_of({"content": (self.body or {}).get("system")}))

    @property
    def tools(self) -> list[str]:
        """The names of the tools that the model may call."""
        return [tool.get("name", "") for tool in (self.body or {}).get("tools", [])]

    def _messages(self) -> Iterable[Mapping[str, Any]]:
        return (self.body or {}).get("messages", ()) if isinstance(self.body, dict) else ()


class FakeMessagesApi:
    """The server. It listens while its `async with` block runs.

    Args:
        steps: The script.
        key: The only accepted `x-api-key`.
        bearer: The only accepted bearer token, which also needs the beta header of OAuth; None accepts none.
        prefix: A path before all others, if the client's base URL has one.
        port: 0 for a free port.
    """

    def __init__(
        self,
        steps: Iterable[Step] = (),
        *,
        key: str = DEFAULT_KEY,
        bearer: str | None = None,
        prefix: str = "",
        port: int = 0,
    ) -> None:
        self.script = Script(steps)
        self.key, self.requests = key, list[RecordedRequest]()
        self._bearer, self._prefix, self._port = bearer, prefix, port
        self._runner: web.AppRunner | None = None
        self._release, self._arrived = asyncio.Event(), asyncio.Condition()

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def conversations(self) -> list[RecordedRequest]:
        """The requests of the conversation: those to `/v1/messages` with tools, which side requests do not have."""
        path = f"{self._prefix}/v1/messages"
        return [request for request in list(self.requests) if request.path == path and request.tools]

    def release(self) -> None:
        """Send the rest of the answers of `hold` steps, of current and of later ones."""
        self._release.set()

    async def wait_for_requests(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until `count` requests of the conversation arrived.

        Raises:
            TimeoutError: They did not arrive in time.
        """
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.conversations) >= count)

    async def __aenter__(self) -> Self:
        from aiohttp import web

        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post(f"{self._prefix}/v1/messages", self._messages)
        app.router.add_post(f"{self._prefix}/v1/messages/count_tokens", self._count_tokens)
        app.router.add_route("*", "/{rest:.*}", self._unknown)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        try:
            body = check_body(await self._checked(request))
            step = self.script.take(body)
            await asyncio.sleep(step.delay_s)
            if step.error is not None:
                raise Refused(step.error, step.message)
        except Refused as refused:
            return self._error_response(refused, step.retry_after_s if refused.status == 429 else None)
        answer = _answer(step, body)
        if body.get("stream"):
            return await self._stream(request, step, answer)
        if step.hold:
            await self._release.wait()
        if step.drop:
            return _cut(request)
        return _json(200, answer.as_message())

    async def _count_tokens(self, request: web.Request) -> web.StreamResponse:
        try:
            body = check_body(await self._checked(request), needs_max_tokens=False)
        except Refused as refused:
            return self._error_response(refused)
        return _json(200, {"input_tokens": _tokens(body)})

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        await self._record(request, None)
        return self._error_response(Refused(404))

    async def _stream(self, request: web.Request, step: Step, answer: Answer) -> web.StreamResponse:
        from aiohttp import web

        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        reply = web.StreamResponse(headers=headers | _common_headers())
        await reply.prepare(request)
        async for event in self._paced(step, list(events_of(answer))):
            await reply.write(event)
        if step.drop:
            return _cut(request, reply)
        await reply.write_eof()
        return reply

    async def _paced(self, step: Step, events: list[bytes]) -> AsyncIterator[bytes]:
        beginning = len(events) // 2
        for event in events[:beginning]:
            yield event
        if step.hold:
            await self._release.wait()
        for event in () if step.drop else events[beginning:]:
            yield event

    async def _checked(self, request: web.Request) -> object:
        """Record a request, check its key, and return its body."""
        from aiohttp import web

        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413) from None
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        await self._record(request, body)
        self._check_key(request)
        if "anthropic-version" not in request.headers:
            raise Refused(400, "anthropic-version: header is required")
        return body

    def _check_key(self, request: web.Request) -> None:
        if request.headers.get("x-api-key") == self.key:
            return
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._bearer is None or bearer != self._bearer:
            raise Refused(401, "Invalid bearer token" if bearer else "invalid x-api-key")
        if "oauth-2025-04-20" not in request.headers.get("anthropic-beta", ""):
            raise Refused(401, "OAuth authentication is currently not supported.")

    async def _record(self, request: web.Request, body: object) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(RecordedRequest(method=request.method, path=request.path, headers=headers, body=body))
        async with self._arrived:
            self._arrived.notify_all()

    def _error_response(self, refused: Refused, retry_after_s: int | None = None) -> web.Response:
        headers = _common_headers()
        if retry_after_s is not None:
            headers |= {"retry-after": str(retry_after_s), "anthropic-ratelimit-requests-remaining": "0"}
        return _json(refused.status, refused.body(headers["request-id"]), headers)


@contextlib.contextmanager
def serve_in_thread(steps: Iterable[Step] = (), **options: Any) -> Iterator[FakeMessagesApi]:
    """Serve on an event loop in a thread, for tests without a free loop. The options are those of `FakeMessagesApi`."""
    started: threading.Event = threading.Event()
    box: list[tuple[FakeMessagesApi, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with FakeMessagesApi(steps, **options) as api:
            box.append((api, asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    if not started.wait(30):
        raise TimeoutError("the fake Messages API did not start within 30 s")
    api, loop, stop = box[0]
    try:
        yield api
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def _answer(step: Step, body: Mapping[str, Any]) -> Answer:
    return Answer(
        id=f"msg_{secrets.token_hex(12)}",
        model=body["model"],
        text=step.text,
        tool=step.tool,
        tool_input=step.input,
        input_tokens=_tokens(body) if step.input_tokens is None else step.input_tokens,
        cache_read_tokens=step.cache_read_tokens,
    )


def _tokens(body: Mapping[str, Any]) -> int:
    return len(json.dumps([body.get("system"), body["messages"]])) // 4 + 1


def _cut(request: web.Request, reply: web.StreamResponse | None = None) -> web.StreamResponse:
    """Cut the connection, so that the client gets no end of the answer."""
    from aiohttp import web

    if request.transport is not None:
        request.transport.abort()
    return reply or web.Response()


def _common_headers() -> dict[str, str]:
    return {"request-id": f"req_{secrets.token_hex(12)}", "anthropic-organization-id": "only-for-tests"}


def _json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    from aiohttp import web

    return web.json_response(body, status=status, headers=_common_headers() if headers is None else headers)


async def _serve_until_stopped(port: int, steps: Iterable[Step], key: str) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with FakeMessagesApi(steps, key=key, port=port) as api:
        print(api.url, flush=True)
        await stop.wait()


def main(arguments: list[str] | None = None) -> None:
    """Serve until a signal, after printing the address."""
    parser = argparse.ArgumentParser(description="A local fake of the Anthropic Messages API")
    parser.add_argument("--port", type=int, default=0, help="the port; 0, the default, for a free one")
    parser.add_argument(
        "--script", type=Path, help="a file with a JSON list of steps; without it the server echoes every prompt"
    )
    parser.add_argument("--key", default=os.environ.get("FAKE_MESSAGES_API_KEY", DEFAULT_KEY), help="the accepted key")
    options = parser.parse_args(arguments)
    steps = read_script(options.script.read_text("utf-8")) if options.script else []
    asyncio.run(_serve_until_stopped(options.port, steps, options.key))


if __name__ == "__main__":
    main(sys.argv[1:])
