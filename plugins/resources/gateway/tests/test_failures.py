"""Failures of an upstream or a client, and the limits of one call."""

from __future__ import annotations

import asyncio
import contextlib
import io
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, web
from gateway_requests import SECRET, WAIT_S, Opened, echo, until
from nanoclaw_resource_gateway.settings import Settings


def test_upstream_that_is_down_gives_a_clean_error(opened: Opened, unused_port: int) -> None:
    async def scenario() -> None:
        async with opened(f"http://127.0.0.1:{unused_port}") as (setup, client):
            async with client.post("/api/v1/messages", data=b"x") as answer:
                assert answer.status == 502
                assert (await answer.json())["error"]["type"] == "api_error"
                assert SECRET not in await answer.text()
            await until(setup.calls)
            assert (setup.calls()[0]["status"], setup.calls()[0]["error"]) == (502, "unreachable")

    asyncio.run(scenario())


def test_silent_upstream_times_out(opened: Opened) -> None:
    async def silent(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("the handler must stay blocked")

    async def scenario() -> None:
        async with opened(silent, settings=Settings(idle_timeout_s=0.2)) as (_, client), client.get("/api/x") as answer:
            assert answer.status == 504

    asyncio.run(scenario())


def test_broken_answer_breaks_the_clients_connection(opened: Opened) -> None:
    """The client must not mistake a partial answer for a complete one."""

    async def breaking(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return reply

    async def scenario() -> None:
        async with opened(breaking) as (setup, client):
            with pytest.raises(ClientError):
                async with client.get("/api/x") as answer:
                    await answer.read()
            await until(setup.calls)
            assert (setup.calls()[0]["status"], setup.calls()[0]["error"]) == (200, "broken off")

    asyncio.run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_request_that_is_too_large_is_refused(opened: Opened, chunked: bool) -> None:
    size_bytes = 4 * 1024**2

    async def pieces() -> Any:
        for _ in range(size_bytes // 65_536):
            yield bytes(65_536)

    async def scenario() -> None:
        async with opened(echo, settings=Settings(max_request_mib=1)) as (setup, client):
            with contextlib.suppress(ClientError):  # the refusal may come while the body is still being sent
                async with client.post("/api/x", data=pieces() if chunked else io.BytesIO(bytes(size_bytes))) as answer:
                    assert answer.status == 413
            await setup.gateway.close_endpoint(setup.session_id)
            began = [(413, "request too large")] if chunked else []  # only a forwarded call has a record
            assert [(row["status"], row["error"]) for row in setup.calls()] == began

    asyncio.run(scenario())


def test_request_body_that_stops_times_out(opened: Opened) -> None:
    async def stopping() -> Any:
        yield b"half"
        await asyncio.Event().wait()

    async def reading(request: web.Request) -> web.Response:
        await request.read()
        raise AssertionError("the body must never be complete")

    async def scenario() -> None:
        async with opened(reading, settings=Settings(idle_timeout_s=0.2)) as (_, client):
            with contextlib.suppress(ClientError):  # the connection closes while the body is still being sent
                async with client.post("/api/x", data=stopping()) as answer:
                    assert answer.status == 408

    asyncio.run(scenario())


def test_missing_key_is_reported_and_nothing_is_sent(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened("http://127.0.0.1:9", missing="no model key: set EXAMPLE") as (_, client):
            async with client.post("/api/v1/messages", data=b"x") as answer:
                body = await answer.json()
            assert (answer.status, body["error"]["message"]) == (401, "no model key: set EXAMPLE")

    asyncio.run(scenario())


def test_call_over_the_limit_gets_a_retry_error(opened: Opened) -> None:
    release = asyncio.Event()

    async def blocked(_request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async def status(client: ClientSession) -> int:
        async with client.get("/api/x") as answer:
            return answer.status

    async def scenario() -> None:
        async with opened(blocked, settings=Settings(max_calls=2)) as (_, client):
            calls = [asyncio.create_task(status(client)) for _ in range(3)]
            done, _ = await asyncio.wait(calls, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result() for task in done] == [429]
            release.set()
            assert sorted(await asyncio.gather(*calls)) == [200, 200, 429]

    asyncio.run(scenario())


def test_disconnected_client_ends_the_upstream_call(opened: Opened) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def blocked(_request: web.Request) -> web.Response:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("the handler must stay blocked")

    async def scenario() -> None:
        async with opened(blocked) as (setup, client):
            call = asyncio.create_task(client.get("/api/x").__aenter__())
            await asyncio.wait_for(began.wait(), WAIT_S)
            call.cancel()
            await asyncio.wait_for(ended.wait(), WAIT_S)
            await until(setup.calls)
            assert (setup.calls()[0]["status"], setup.calls()[0]["error"]) == (None, "client gone")

    asyncio.run(scenario())
