"""Requests through the gateway, between a real socket of a sandbox and a real upstream."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web
from gateway_requests import SECRET, WAIT_S, Opened, echo

from nanoclaw_core import Gateway


def test_gateway_implements_the_protocol_of_the_core(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(echo) as (setup, _):
            assert isinstance(setup.gateway, Gateway)

    asyncio.run(scenario())


def test_request_arrives_complete_with_the_credential(opened: Opened) -> None:
    """A credential that the sandbox sends is replaced."""

    async def scenario() -> None:
        async with (
            opened(echo) as (_, client),
            client.post(
                "/api/v1/messages?beta=true", data=b"words", headers={"x-api-key": "planted", "x-mine": "1"}
            ) as answer,
        ):
            seen = await answer.json()
        headers = {name.lower(): value for name, value in seen["headers"].items()}
        assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/v1/messages?beta=true", "words")
        assert (headers["x-api-key"], headers["x-mine"], headers["accept-encoding"]) == (SECRET, "1", "identity")
        assert headers["host"].startswith("127.0.0.1:")

    asyncio.run(scenario())


def test_key_is_never_visible_to_the_sandbox(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    async def quiet(_request: web.Request) -> web.Response:
        return web.json_response({"fine": True}, headers={"set-cookie": "a=b"})

    async def scenario() -> None:
        async with opened(quiet) as (setup, client):
            async with client.get("/api/v1/models") as answer:
                got = f"{answer.status} {answer.headers} {await answer.text()}"
            assert SECRET not in got
            assert "set-cookie" not in got.lower()
            assert SECRET not in repr(setup.calls()) + caplog.text + repr(vars(setup.gateway))

    caplog.set_level(logging.DEBUG)
    asyncio.run(scenario())


def test_answer_is_streamed(opened: Opened) -> None:
    may_finish = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"first")
        await may_finish.wait()
        await reply.write(b"second")
        return reply

    async def scenario() -> None:
        async with opened(slow) as (_, client), client.get("/api/stream") as answer:
            assert await asyncio.wait_for(answer.content.readany(), WAIT_S) == b"first"
            may_finish.set()
            assert await answer.read() == b"second"

    asyncio.run(scenario())


def test_request_is_streamed(opened: Opened) -> None:
    arrived = asyncio.Event()

    async def reading(request: web.Request) -> web.Response:
        first = await request.content.readany()
        arrived.set()
        return web.Response(body=first + await request.read())

    async def body() -> Any:
        yield b"first "
        await asyncio.wait_for(arrived.wait(), WAIT_S)
        yield b"second"

    async def scenario() -> None:
        async with opened(reading) as (_, client), client.post("/api/up", data=body()) as answer:
            assert await answer.read() == b"first second"

    asyncio.run(scenario())


def test_slow_reader_slows_down_the_upstream(opened: Opened) -> None:
    total_bytes, chunk = 64 * 1024**2, bytes(64 * 1024)
    written_bytes = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written_bytes
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(total_bytes // len(chunk)):
            await reply.write(chunk)
            written_bytes += len(chunk)
        return reply

    async def scenario() -> None:
        async with opened(endless) as (_, client), client.get("/api/endless") as answer:
            last_bytes, quiet_turns = -1, 0
            while quiet_turns < 1_000:  # upstream, gateway and reader share the event loop: no byte moves any more
                quiet_turns = quiet_turns + 1 if last_bytes == written_bytes else 0
                last_bytes = written_bytes
                await asyncio.sleep(0)
            assert written_bytes < total_bytes / 4
            assert sum([len(piece) async for piece in answer.content.iter_any()]) == total_bytes

    asyncio.run(scenario())


def test_redirect_is_neither_followed_nor_forwarded(opened: Opened) -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": "http://evil.example/"})

    async def scenario() -> None:
        async with opened(elsewhere) as (_, client), client.get("/api/x", allow_redirects=False) as answer:
            assert answer.status == 502
            assert "location" not in answer.headers

    asyncio.run(scenario())


def test_call_uses_the_proxy_of_the_host(opened: Opened, serving: Any) -> None:
    async def proxy(request: web.Request) -> web.Response:
        return web.Response(text=request.raw_path)

    async def scenario() -> None:
        async with serving(proxy) as address:
            environment = {"HTTP_PROXY": address}
            async with (
                opened("http://api.invalid/base", environment=environment) as (_, client),
                client.get("/api/v1/models") as answer,
            ):
                assert await answer.text() == "http://api.invalid/base/v1/models"

    asyncio.run(scenario())


@pytest.mark.parametrize("request_line", ["CONNECT evil.example:443", "TRACE /api/x", "GET http://evil.example/api/x"])
def test_connect_trace_and_absolute_urls_are_refused(opened: Opened, request_line: str) -> None:
    async def scenario() -> bytes:
        async with opened(echo) as (setup, _):
            reader, writer = await asyncio.open_unix_connection(str(setup.socket))
            writer.write(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            line = await asyncio.wait_for(reader.readline(), WAIT_S)
            writer.close()
            await writer.wait_closed()
            return line

    assert asyncio.run(scenario()).split()[1][:2] == b"40"


def test_upgrade_is_refused(opened: Opened) -> None:
    async def scenario() -> None:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with opened(echo) as (_, client), client.get("/api/x", headers=headers) as answer:
            assert answer.status == 405

    asyncio.run(scenario())


def test_importing_the_plugin_does_not_import_aiohttp() -> None:
    code = "import sys; import nanoclaw_resource_gateway.host; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
