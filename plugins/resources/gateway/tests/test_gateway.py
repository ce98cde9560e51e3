"""Tests of the gateway between a real socket of a sandbox and a real upstream."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, UnixConnector, web
from nanoclaw_resource_gateway.rows import prune
from nanoclaw_resource_gateway.settings import Settings
from nanoclaw_wire import clock

from nanoclaw_core import Gateway, TokenCount

WAIT_S = 30.0
SECRET = "sk-ant-api03-the-real-one"
Opened = Any  # the fixture of conftest.py: a function that returns an async context manager


async def _echo(request: web.Request) -> web.Response:
    seen = {"path": request.raw_path, "method": request.method, "headers": dict(request.headers)}
    return web.json_response(seen | {"body": (await request.read()).decode()})


async def _until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # the condition has no notification
            await asyncio.sleep(0.005)


def test_gateway_implements_the_protocol_of_the_core(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (setup, _):
            assert isinstance(setup.gateway, Gateway)

    asyncio.run(scenario())


def test_request_arrives_complete_with_the_credential(opened: Opened) -> None:
    """A credential that the sandbox sends is replaced."""

    async def scenario() -> None:
        async with (
            opened(_echo) as (_, client),
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


def test_upstream_that_is_down_gives_a_clean_error(opened: Opened, unused_port: int) -> None:
    async def scenario() -> None:
        async with opened(f"http://127.0.0.1:{unused_port}") as (setup, client):
            async with client.post("/api/v1/messages", data=b"x") as answer:
                assert answer.status == 502
                assert (await answer.json())["error"]["type"] == "api_error"
                assert SECRET not in await answer.text()
            await _until(setup.calls)
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
            await _until(setup.calls)
            assert (setup.calls()[0]["status"], setup.calls()[0]["error"]) == (200, "broken off")

    asyncio.run(scenario())


def test_redirect_is_neither_followed_nor_forwarded(opened: Opened) -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": "http://evil.example/"})

    async def scenario() -> None:
        async with opened(elsewhere) as (_, client), client.get("/api/x", allow_redirects=False) as answer:
            assert answer.status == 502
            assert "location" not in answer.headers

    asyncio.run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_request_that_is_too_large_is_refused(opened: Opened, chunked: bool) -> None:
    size_bytes = 4 * 1024**2

    async def pieces() -> Any:
        for _ in range(size_bytes // 65_536):
            yield bytes(65_536)

    async def scenario() -> None:
        async with opened(_echo, settings=Settings(max_request_mib=1)) as (setup, client):
            with contextlib.suppress(ClientError):  # the refusal may come while the body is still being sent
                async with client.post("/api/x", data=pieces() if chunked else io.BytesIO(bytes(size_bytes))) as answer:
                    assert answer.status == 413
            await _until(setup.calls)
            assert (setup.calls()[0]["status"], setup.calls()[0]["error"]) == (413, "request too large")

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
            await _until(setup.calls)
            assert (setup.calls()[0]["status"], setup.calls()[0]["error"]) == (None, "client gone")

    asyncio.run(scenario())


def test_closing_an_endpoint_ends_calls_and_removes_socket(opened: Opened) -> None:
    began = asyncio.Event()

    async def blocked(_request: web.Request) -> web.Response:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError("the handler must stay blocked")

    async def scenario() -> None:
        async with opened(blocked) as (setup, client):
            call = asyncio.create_task(client.get("/api/x").__aenter__())
            await asyncio.wait_for(began.wait(), WAIT_S)
            await asyncio.wait_for(setup.gateway.close_endpoint(setup.session_id), WAIT_S)
            with pytest.raises(ClientError):
                await call
            assert not setup.socket.exists()
            await setup.gateway.close_endpoint(setup.session_id)

    asyncio.run(scenario())


def test_stale_socket_is_replaced_and_open_to_all_users(opened: Opened, tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "gateway.sock").write_bytes(b"left by a dead host")
        async with opened(_echo) as (setup, client), client.get("/api/x") as answer:
            assert answer.status == 200
            assert stat.S_IMODE(setup.socket.stat().st_mode) == 0o666

    asyncio.run(scenario())


def test_socket_with_a_long_path_can_be_bound(opened: Opened, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (setup, _):
            folder = tmp_path / ("long" * 30)
            folder.mkdir()
            setup.socket = folder / "gateway.sock"
            await setup.gateway.open_endpoint(setup.endpoint())
            assert stat.S_ISSOCK(setup.socket.stat().st_mode)

    asyncio.run(scenario())


@pytest.mark.parametrize("request_line", ["CONNECT evil.example:443", "TRACE /api/x", "GET http://evil.example/api/x"])
def test_connect_trace_and_absolute_urls_are_refused(opened: Opened, request_line: str) -> None:
    async def scenario() -> bytes:
        async with opened(_echo) as (setup, _):
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
        async with opened(_echo) as (_, client), client.get("/api/x", headers=headers) as answer:
            assert answer.status == 405

    asyncio.run(scenario())


def test_connections_of_a_sandbox_are_limited(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo, settings=Settings(max_calls=1)) as (setup, _):
            pairs = [await asyncio.open_unix_connection(str(setup.socket)) for _ in range(8)]
            gone = [asyncio.create_task(reader.read()) for reader, _ in pairs]
            await _until(lambda: sum(task.done() for task in gone) == 4)
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            for _, writer in pairs:
                writer.close()

    asyncio.run(scenario())


class _Counting:
    def __init__(self, _content_type: str) -> None:
        self.size_bytes = 0

    def feed(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)

    def count(self) -> TokenCount:
        return TokenCount(model="model-of-the-test", input_tokens=self.size_bytes, output_tokens=7)


def test_call_is_recorded_with_usage_and_without_query(opened: Opened) -> None:
    async def four(_request: web.Request) -> web.Response:
        return web.Response(body=b"four")

    async def scenario() -> None:
        async with opened(four, usage=_Counting) as (setup, client):
            async with client.post("/api/v1/messages?token=hidden", data=b"x") as answer:
                await answer.read()
            await _until(setup.calls)
            row = setup.calls()[0]
            assert row.pop("duration_ms") >= 0
            assert clock.from_text(row.pop("at")) <= clock.now()
            assert row == {
                **{"id": 1, "agent_group_id": "ag-000000000001", "session_id": "ses-000000000001"},
                **{"upstream": "api", "method": "POST", "path": "/v1/messages", "status": 200, "error": None},
                **{"model": "model-of-the-test", "input_tokens": 4, "output_tokens": 7},
            }

    asyncio.run(scenario())


def test_call_to_an_undeclared_upstream_is_recorded(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (setup, client):
            async with client.get("/other/x") as answer:
                assert answer.status == 404
            row = setup.calls()[0]
            assert (row["upstream"], row["path"], row["status"], row["error"]) == (
                "other",
                "/x",
                404,
                "unknown upstream",
            )

    asyncio.run(scenario())


def test_prune_deletes_old_calls(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo, settings=Settings(keep_days=2)) as (setup, client):
            for _ in range(2):
                async with client.get("/api/x") as answer:
                    await answer.read()
            await _until(lambda: len(setup.calls()) == 2)
            past = clock.to_text(clock.now() - timedelta(days=3))
            setup.database.execute("UPDATE gateway_calls SET at = ? WHERE id = 1", (past,))
            await prune(setup.context)
            assert [row["id"] for row in setup.calls()] == [2]

    asyncio.run(scenario())


def test_endpoint_serves_only_its_own_session(opened: Opened, tmp_path: Path) -> None:
    """A second session without upstreams gets 404."""

    async def scenario() -> None:
        async with opened(_echo) as (setup, _):
            setup.socket, setup.session_id = tmp_path / "other.sock", "ses-000000000002"
            await setup.gateway.open_endpoint(setup.endpoint())
            async with (
                ClientSession("http://sandbox", connector=UnixConnector(str(setup.socket))) as other,
                other.get("/api/x") as answer,
            ):
                assert answer.status == 404

    asyncio.run(scenario())


def test_cancelled_run_closes_every_endpoint(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (setup, _):
            running = asyncio.create_task(setup.gateway.run())
            await asyncio.sleep(0)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            assert not setup.socket.exists()

    asyncio.run(scenario())


def test_importing_the_plugin_does_not_import_aiohttp() -> None:
    code = "import sys; import nanoclaw_resource_gateway.host; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
