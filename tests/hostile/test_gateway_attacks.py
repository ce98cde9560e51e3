"""A hostile sandbox at its gateway: other sessions' calls, the host's log and its database stay unharmed."""

from __future__ import annotations

import asyncio
import gzip
import logging
from pathlib import Path

import pytest
from nanoclaw_resource_gateway.body import MAX_SMALL_CHUNKS, PART_CHUNKS
from nanoclaw_resource_gateway.settings import Settings
from raw_upstream import WAIT_S, RawRequest, RawUpstream, close, gateway_sessions, raw_upstream, read_head

ATTACKER, HONEST = "ses-attacker", "ses-honest"
NOTHING = gzip.compress(b"", mtime=0)


def post(body: bytes, *, length: int, headers: bytes = b"") -> bytes:
    head = b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % length
    return head + headers + b"\r\n" + body


def compressed(body: bytes) -> bytes:
    return post(body, length=len(body), headers=b"Content-Encoding: gzip\r\n")


HONEST_CALL = post(b"prompt", length=6)


async def ended(upstream: RawUpstream) -> None:
    await asyncio.wait_for(upstream.ended.get(), WAIT_S)


@pytest.mark.parametrize("next_session", [ATTACKER, HONEST])
def test_body_that_unpacks_to_nothing_swallows_no_call(tmp_path: Path, next_session: str) -> None:
    """An upstream that answers early keeps its connection, and would read the next call as the missing body."""

    async def scenario() -> list[bytes]:
        async with raw_upstream(answers_early=True) as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            await sessions.send(ATTACKER, compressed(NOTHING))
            await sessions.send(next_session, HONEST_CALL)
            await asyncio.wait_for(upstream.heads.get(), WAIT_S)
            await asyncio.wait_for(upstream.heads.get(), WAIT_S)
            await sessions.close(ATTACKER, HONEST)
            await ended(upstream)
            return [request.body for request in upstream.requests]

    assert asyncio.run(scenario()) == [NOTHING, b"prompt"]


def test_sessions_share_no_connection_to_an_upstream(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        counts = []
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            for session in (ATTACKER, ATTACKER, HONEST):
                await sessions.send(session, HONEST_CALL)
                counts.append(upstream.connections)
        return counts

    assert asyncio.run(scenario()) == [1, 1, 2]


def test_closed_endpoint_leaves_no_upstream_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            await sessions.send(ATTACKER, HONEST_CALL)
            await sessions.close(ATTACKER)
            await ended(upstream)

    asyncio.run(scenario())


@pytest.mark.parametrize("answers_early", [False, True])
@pytest.mark.parametrize("hangs_up", ["closes", "shuts down"])
def test_body_that_ends_early_closes_its_connection(tmp_path: Path, answers_early: bool, hangs_up: str) -> None:
    async def scenario() -> RawUpstream:
        async with (
            raw_upstream(answers_early=answers_early) as upstream,
            gateway_sessions(tmp_path, upstream) as sessions,
        ):
            _, writer = await sessions.connect(ATTACKER)
            writer.write(post(b"x" * 10, length=4_000))
            await asyncio.wait_for(upstream.heads.get(), WAIT_S)
            if hangs_up == "closes":
                await close(writer)
            else:
                writer.write_eof()
            await ended(upstream)
            upstream.answers_early = False
            await sessions.send(ATTACKER, HONEST_CALL)
            await close(writer)
            return upstream

    upstream = asyncio.run(scenario())
    assert [request.body for request in upstream.requests] == [b"prompt"]
    assert upstream.connections == 2


def test_early_answer_closes_the_connection_of_its_body(tmp_path: Path) -> None:
    """The upstream answers, and the sandbox sends the rest of its body later: the rest belongs to no other call."""

    async def scenario() -> RawUpstream:
        async with raw_upstream(answers_early=True) as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            reader, writer = await sessions.connect(ATTACKER)
            writer.write(post(b"x" * 10, length=4_000))
            assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
            await ended(upstream)
            writer.write(b"y" * 3_990)
            await sessions.send(ATTACKER, HONEST_CALL)
            await close(writer)
            return upstream

    assert asyncio.run(scenario()).connections == 2


def test_malformed_chunks_never_complete_a_body(tmp_path: Path) -> None:
    async def scenario() -> RawUpstream:
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            _, writer = await sessions.connect(ATTACKER)
            writer.write(b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await asyncio.wait_for(upstream.heads.get(), WAIT_S)
            writer.write(b"zz\r\n0\r\n\r\n")
            await close(writer)
            await ended(upstream)
            return upstream

    assert asyncio.run(scenario()).requests == []


def one_byte_chunks(count: int) -> bytes:
    head = b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"1\r\nx\r\n" * count + b"0\r\n\r\n"


def test_call_of_too_many_small_chunks_ends(tmp_path: Path) -> None:
    async def scenario() -> tuple[bytes, list[RawRequest], list[tuple[object, ...]]]:
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            reply = await sessions.send(ATTACKER, one_byte_chunks(2 * MAX_SMALL_CHUNKS))
            return reply.split()[1], upstream.requests, await sessions.rows(ATTACKER)

    assert asyncio.run(scenario()) == (b"400", [], [("POST", "/v1", 400, "small chunks")])


def test_small_chunks_are_read_in_bounded_steps(tmp_path: Path) -> None:
    """The other sessions have their turns between two steps."""

    async def scenario() -> RawRequest:
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            await sessions.send(ATTACKER, one_byte_chunks(MAX_SMALL_CHUNKS // 2))
            return upstream.requests[0]

    request = asyncio.run(scenario())
    assert request.body == b"x" * (MAX_SMALL_CHUNKS // 2)
    assert max(request.chunk_sizes) <= PART_CHUNKS
    assert len(request.chunk_sizes) < len(request.body) / 10


def test_compression_bombs_arrive_packed(tmp_path: Path) -> None:
    """Sixty bodies of 58 KB would unpack to 60 MB each, on the event loop of all sessions."""
    bomb = gzip.compress(bytes(60_000_000), mtime=0)

    async def scenario() -> RawUpstream:
        settings = Settings(max_calls=60)
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream, settings) as sessions:
            await asyncio.gather(*(sessions.send(ATTACKER, compressed(bomb)) for _ in range(60)))
            return upstream

    assert [request.body for request in asyncio.run(scenario()).requests] == [bomb] * 60


def test_malformed_requests_leave_no_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    attacks = (
        b"GET / planted\x00\r\n\r\n",
        b"planted\r\n\r\n",
        b"\x16\x03\x01planted\r\n\r\n",
        b"GET /\r\nplanted\r\n\r\n",
    )

    async def scenario() -> None:
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            for attack in attacks:
                assert (await sessions.send(ATTACKER, attack)).split()[1] == b"400"

    caplog.set_level(logging.DEBUG)
    asyncio.run(scenario())
    assert [record for record in caplog.records if record.levelno > logging.DEBUG or record.exc_info] == []
    assert "planted" not in caplog.text


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"".join(b"X-%d: 1\r\n" % number for number in range(101)), b"400"),
        (b"X: " + b"x" * 9_000 + b"\r\n", b"400"),
        (b"x" * 201 + b": 1\r\n", b"431"),
        (b"".join(b"X-%d: %b\r\n" % (number, b"x" * 8_000) for number in range(9)), b"431"),
        (b"X: \xff\r\n", b"400"),
        (b"X: a\x1bb\r\n", b"400"),
    ],
    ids=["headers", "value", "name", "head", "no UTF-8", "control character"],
)
def test_head_beyond_a_limit_is_refused(tmp_path: Path, head: bytes, status: bytes) -> None:
    async def scenario() -> tuple[bytes, list[object]]:
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            reply = await sessions.send(ATTACKER, b"GET /api/v1 HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
            return reply.split()[1], list(upstream.requests)

    assert asyncio.run(scenario()) == (status, [])


def test_refused_calls_leave_no_row(tmp_path: Path) -> None:
    refused = (b"GET /other/x", b"TRACE /api/x", b"GET /api/../x", b"GET /api/x%00", b"OPTIONS *")

    async def scenario() -> list[tuple[object, ...]]:
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            for line in refused:
                assert (await sessions.send(ATTACKER, line + b" HTTP/1.1\r\nHost: x\r\n\r\n")).split()[1][:2] == b"40"
            await sessions.send(ATTACKER, b"GET /api/x HTTP/1.1\r\nHost: x\r\n\r\n")
            return await sessions.rows(ATTACKER)

    assert asyncio.run(scenario()) == [("GET", "/x", 200, None)]


def test_calls_beyond_the_limit_are_only_counted(tmp_path: Path) -> None:
    """The limit of a session and day also holds after its sandbox starts again."""

    async def scenario() -> list[tuple[object, ...]]:
        settings = Settings(max_records=3)
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream, settings) as sessions:
            for _ in range(2):
                for _ in range(4):
                    await sessions.send(ATTACKER, HONEST_CALL)
                assert len(await sessions.rows(ATTACKER)) == 3
            await sessions.send(HONEST, HONEST_CALL)
            assert len(await sessions.rows(HONEST)) == 1
            assert len(upstream.requests) == 9
            return sessions.database.execute("SELECT session_id, calls FROM gateway_unrecorded").fetchall()

    assert asyncio.run(scenario()) == [(ATTACKER, 5)]


def test_refused_upload_is_read_only_to_a_limit(tmp_path: Path) -> None:
    """A refused body costs the event loop time, so the host closes the connection of a long one."""

    async def scenario() -> int:
        sent_bytes = 0
        async with raw_upstream() as upstream, gateway_sessions(tmp_path, upstream) as sessions:
            _, writer = await sessions.connect(ATTACKER)
            writer.write(b"POST /other/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                async with asyncio.timeout(WAIT_S):
                    while sent_bytes < 256 * 1024**2:
                        writer.write(b"10000\r\n%b\r\n" % bytes(65_536))
                        await writer.drain()
                        sent_bytes += 65_536
            except ConnectionError:
                pass
            await close(writer)
        return sent_bytes

    assert asyncio.run(scenario()) < 16 * 1024**2
