"""The gateway between a sandbox's socket and an upstream, both real."""

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
Opened = Any  # the fixture of conftest.py: a function that gives an async context manager


async def _echo(request: web.Request) -> web.Response:
    seen = {"path": request.raw_path, "method": request.method, "headers": dict(request.headers)}
    return web.json_response(seen | {"body": (await request.read()).decode()})


async def _until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # what is waited for happens elsewhere and tells nobody
            await asyncio.sleep(0.005)


def test_the_gateway_is_what_the_core_calls_a_gateway(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (place, _):
            assert isinstance(place.gateway, Gateway)

    asyncio.run(scenario())


def test_a_request_arrives_whole_with_the_credential_and_without_what_was_planted(opened: Opened) -> None:
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


def test_the_key_is_nowhere_on_the_sandboxs_side(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    async def quiet(_request: web.Request) -> web.Response:
        return web.json_response({"fine": True}, headers={"set-cookie": "a=b"})

    async def scenario() -> None:
        async with opened(quiet) as (place, client):
            async with client.get("/api/v1/models") as answer:
                got = f"{answer.status} {answer.headers} {await answer.text()}"
            assert SECRET not in got
            assert "set-cookie" not in got.lower()
            assert SECRET not in repr(place.calls()) + caplog.text + repr(vars(place.gateway))

    caplog.set_level(logging.DEBUG)
    asyncio.run(scenario())


def test_an_answer_arrives_while_it_is_still_being_made(opened: Opened) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"first")
        await go_on.wait()
        await reply.write(b"second")
        return reply

    async def scenario() -> None:
        async with opened(slow) as (_, client), client.get("/api/stream") as answer:
            assert await asyncio.wait_for(answer.content.readany(), WAIT_S) == b"first"
            go_on.set()
            assert await answer.read() == b"second"

    asyncio.run(scenario())


def test_a_request_arrives_while_it_is_still_being_sent(opened: Opened) -> None:
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


def test_a_slow_reader_holds_the_upstream_back(opened: Opened) -> None:
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
            held, quiet_turns = -1, 0
            while quiet_turns < 1_000:  # of the loop on which upstream, gateway and reader are: nothing moves any more
                quiet_turns = quiet_turns + 1 if held == written_bytes else 0
                held = written_bytes
                await asyncio.sleep(0)
            assert written_bytes < total_bytes / 4
            assert sum([len(piece) async for piece in answer.content.iter_any()]) == total_bytes

    asyncio.run(scenario())


def test_an_upstream_that_is_down_gives_a_clean_error(opened: Opened, unused_port: int) -> None:
    async def scenario() -> None:
        async with opened(f"http://127.0.0.1:{unused_port}") as (place, client):
            async with client.post("/api/v1/messages", data=b"x") as answer:
                assert answer.status == 502
                assert (await answer.json())["error"]["type"] == "api_error"
                assert SECRET not in await answer.text()
            await _until(place.calls)
            assert (place.calls()[0]["status"], place.calls()[0]["error"]) == (502, "unreachable")

    asyncio.run(scenario())


def test_an_upstream_that_says_nothing_is_given_up(opened: Opened) -> None:
    async def silent(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody lets it go on")

    async def scenario() -> None:
        async with opened(silent, settings=Settings(idle_timeout_s=0.2)) as (_, client), client.get("/api/x") as answer:
            assert answer.status == 504

    asyncio.run(scenario())


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(opened: Opened) -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return reply

    async def scenario() -> None:
        async with opened(breaking) as (place, client):
            with pytest.raises(ClientError):
                async with client.get("/api/x") as answer:
                    await answer.read()
            await _until(place.calls)
            assert (place.calls()[0]["status"], place.calls()[0]["error"]) == (200, "broken off")

    asyncio.run(scenario())


def test_a_redirect_is_not_followed_and_not_passed_on(opened: Opened) -> None:
    async def elsewhere(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": "http://evil.example/"})

    async def scenario() -> None:
        async with opened(elsewhere) as (_, client), client.get("/api/x", allow_redirects=False) as answer:
            assert answer.status == 502
            assert "location" not in answer.headers

    asyncio.run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_is_too_large_is_refused(opened: Opened, chunked: bool) -> None:
    size_bytes = 4 * 1024**2

    async def pieces() -> Any:
        for _ in range(size_bytes // 65_536):
            yield bytes(65_536)

    async def scenario() -> None:
        async with opened(_echo, settings=Settings(max_request_mib=1)) as (place, client):
            with contextlib.suppress(ClientError):  # the refusal may come while the body is still being sent
                async with client.post("/api/x", data=pieces() if chunked else io.BytesIO(bytes(size_bytes))) as answer:
                    assert answer.status == 413
            await _until(place.calls)
            assert (place.calls()[0]["status"], place.calls()[0]["error"]) == (413, "request too large")

    asyncio.run(scenario())


def test_the_hosts_proxy_carries_the_call(opened: Opened, serving: Any) -> None:
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


def test_a_missing_key_is_named_and_nothing_is_sent(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened("http://127.0.0.1:9", missing="no model key: set EXAMPLE") as (_, client):
            async with client.post("/api/v1/messages", data=b"x") as answer:
                body = await answer.json()
            assert (answer.status, body["error"]["message"]) == (401, "no model key: set EXAMPLE")

    asyncio.run(scenario())


def test_a_call_too_many_is_told_to_come_again(opened: Opened) -> None:
    release = asyncio.Event()

    async def held(_request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async def status(client: ClientSession) -> int:
        async with client.get("/api/x") as answer:
            return answer.status

    async def scenario() -> None:
        async with opened(held, settings=Settings(max_calls=2)) as (_, client):
            calls = [asyncio.create_task(status(client)) for _ in range(3)]
            done, _ = await asyncio.wait(calls, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result() for task in done] == [429]
            release.set()
            assert sorted(await asyncio.gather(*calls)) == [200, 200, 429]

    asyncio.run(scenario())


def test_a_client_that_leaves_ends_the_upstream_call(opened: Opened) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def held(_request: web.Request) -> web.Response:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("nobody lets it go on")

    async def scenario() -> None:
        async with opened(held) as (place, client):
            call = asyncio.create_task(client.get("/api/x").__aenter__())
            await asyncio.wait_for(began.wait(), WAIT_S)
            call.cancel()
            await asyncio.wait_for(ended.wait(), WAIT_S)
            await _until(place.calls)
            assert (place.calls()[0]["status"], place.calls()[0]["error"]) == (None, "client gone")

    asyncio.run(scenario())


def test_closing_the_door_ends_calls_and_removes_the_socket(opened: Opened) -> None:
    began = asyncio.Event()

    async def held(_request: web.Request) -> web.Response:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody lets it go on")

    async def scenario() -> None:
        async with opened(held) as (place, client):
            call = asyncio.create_task(client.get("/api/x").__aenter__())
            await asyncio.wait_for(began.wait(), WAIT_S)
            await asyncio.wait_for(place.gateway.close_door(place.session_id), WAIT_S)
            with pytest.raises(ClientError):
                await call
            assert not place.socket.exists()
            await place.gateway.close_door(place.session_id)

    asyncio.run(scenario())


def test_a_stale_socket_is_replaced_and_everybody_may_connect(opened: Opened, tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "gateway.sock").write_bytes(b"left by a dead host")
        async with opened(_echo) as (place, client), client.get("/api/x") as answer:
            assert answer.status == 200
            assert stat.S_IMODE(place.socket.stat().st_mode) == 0o666

    asyncio.run(scenario())


def test_a_long_path_is_no_obstacle(opened: Opened, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (place, _):
            folder = tmp_path / ("long" * 30)
            folder.mkdir()
            place.socket = folder / "gateway.sock"
            await place.gateway.open_door(place.door())
            assert stat.S_ISSOCK(place.socket.stat().st_mode)

    asyncio.run(scenario())


@pytest.mark.parametrize("request_line", ["CONNECT evil.example:443", "TRACE /api/x", "GET http://evil.example/api/x"])
def test_requests_of_other_kinds_are_refused(opened: Opened, request_line: str) -> None:
    async def scenario() -> bytes:
        async with opened(_echo) as (place, _):
            reader, writer = await asyncio.open_unix_connection(str(place.socket))
            writer.write(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            line = await asyncio.wait_for(reader.readline(), WAIT_S)
            writer.close()
            await writer.wait_closed()
            return line

    assert asyncio.run(scenario()).split()[1][:2] == b"40"


def test_an_upgrade_is_refused(opened: Opened) -> None:
    async def scenario() -> None:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with opened(_echo) as (_, client), client.get("/api/x", headers=headers) as answer:
            assert answer.status == 405

    asyncio.run(scenario())


def test_a_sandbox_cannot_open_connections_without_end(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo, settings=Settings(max_calls=1)) as (place, _):
            pairs = [await asyncio.open_unix_connection(str(place.socket)) for _ in range(8)]
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


def test_a_call_is_recorded_without_query_and_with_what_it_used(opened: Opened) -> None:
    async def four(_request: web.Request) -> web.Response:
        return web.Response(body=b"four")

    async def scenario() -> None:
        async with opened(four, usage=_Counting) as (place, client):
            async with client.post("/api/v1/messages?token=hidden", data=b"x") as answer:
                await answer.read()
            await _until(place.calls)
            row = place.calls()[0]
            assert row.pop("duration_ms") >= 0
            assert clock.from_text(row.pop("at")) <= clock.now()
            assert row == {
                **{"id": 1, "agent_group_id": "ag-000000000001", "session_id": "ses-000000000001"},
                **{"upstream": "api", "method": "POST", "path": "/v1/messages", "status": 200, "error": None},
                **{"model": "model-of-the-test", "input_tokens": 4, "output_tokens": 7},
            }

    asyncio.run(scenario())


def test_an_attempt_at_something_undeclared_is_recorded(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (place, client):
            async with client.get("/other/x") as answer:
                assert answer.status == 404
            row = place.calls()[0]
            assert (row["upstream"], row["path"], row["status"], row["error"]) == (
                "other",
                "/x",
                404,
                "unknown upstream",
            )

    asyncio.run(scenario())


def test_old_calls_are_forgotten(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo, settings=Settings(keep_days=2)) as (place, client):
            for _ in range(2):
                async with client.get("/api/x") as answer:
                    await answer.read()
            await _until(lambda: len(place.calls()) == 2)
            past = clock.to_text(clock.now() - timedelta(days=3))
            place.database.execute("UPDATE gateway_calls SET at = ? WHERE id = 1", (past,))
            await prune(place.context)
            assert [row["id"] for row in place.calls()] == [2]

    asyncio.run(scenario())


def test_two_doors_are_two_sessions(opened: Opened, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (place, _):
            place.socket, place.session_id = tmp_path / "other.sock", "ses-000000000002"
            await place.gateway.open_door(place.door())
            async with (
                ClientSession("http://sandbox", connector=UnixConnector(str(place.socket))) as other,
                other.get("/api/x") as answer,
            ):
                assert answer.status == 404

    asyncio.run(scenario())


def test_run_closes_every_door_when_it_is_cancelled(opened: Opened) -> None:
    async def scenario() -> None:
        async with opened(_echo) as (place, _):
            running = asyncio.create_task(place.gateway.run())
            await asyncio.sleep(0)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            assert not place.socket.exists()

    asyncio.run(scenario())


def test_listing_the_plugin_loads_no_http_machinery() -> None:
    code = "import sys; import nanoclaw_resource_gateway.host; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
