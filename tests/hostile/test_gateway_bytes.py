"""Odd requests arrive at an upstream as if they had been sent straight, apart from the differences named here."""

from __future__ import annotations

import asyncio

import pytest
from attrs import frozen
from nanoclaw_resource_gateway.settings import Settings
from odd_requests import OddRequest, odd_requests
from raw_upstream import KEY, RawRequest, RawUpstream, close, gateway_sessions, raw_upstream, read_head

REFUSED = {
    "header: value with Latin-1": b"400",
    "header: value with escape": b"400",
    "header: value with delete": b"400",
}
CREDENTIALS = {b"authorization", b"x-api-key", b"cookie", b"proxy-authorization"}
ROUTING = {b"host", b"x-forwarded-host", b"x-forwarded-for", b"forwarded", b"x-host", b"x-original-url"}
METHOD = {b"x-http-method", b"x-http-method-override", b"x-method-override"}
HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"transfer-encoding", b"expect"}
NOT_COMPARED = CREDENTIALS | ROUTING | METHOD | HOP_BY_HOP | {b"accept-encoding", b"content-length"}


@frozen(kw_only=True)
class Arrival:
    """An odd request as it arrived, and the status of the gateway's reply. `through` is None if it refused."""

    name: str
    straight: RawRequest
    through: RawRequest | None
    status: bytes


def compared(request: RawRequest) -> tuple[object, ...]:
    """Return the parts of a request that the gateway must not change.

    The credential, the host, the headers of one connection and the mark of an empty query are not compared.
    """
    named = [value for line in request.values(b"connection") for value in line.lower().split(b",")]
    dropped = NOT_COMPARED | {value.strip().replace(b"_", b"-") for value in named}
    headers = [(name, value) for name, value in request.headers if name.replace(b"_", b"-") not in dropped]
    return request.method, request.target.removesuffix("?"), headers, request.body


async def straight(upstream: RawUpstream, request: OddRequest) -> RawRequest:
    """Send a request without the gateway, and return what arrived."""
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(request.as_bytes(b""))
    await read_head(reader)
    await close(writer)
    return upstream.requests.pop()


@pytest.fixture(scope="module")
def arrivals(tmp_path_factory: pytest.TempPathFactory) -> list[Arrival]:
    """Send each odd request straight and through the gateway."""

    async def scenario() -> list[Arrival]:
        found = []
        folder, settings = tmp_path_factory.mktemp("gateway"), Settings(max_calls=200)
        async with raw_upstream() as upstream, gateway_sessions(folder, upstream, settings) as sessions:
            for request in odd_requests():
                expected = await straight(upstream, request)
                reply = await sessions.send("ses-odd", request.as_bytes(b"/api"))
                through = upstream.requests.pop() if upstream.requests else None
                found.append(Arrival(name=request.name, straight=expected, through=through, status=reply.split()[1]))
        return found

    return asyncio.run(scenario())


def test_odd_requests_arrive_unchanged_or_are_refused(arrivals: list[Arrival]) -> None:
    changed = [
        (arrival.name, compared(arrival.straight), arrival.through and compared(arrival.through))
        for arrival in arrivals
        if arrival.name not in REFUSED
        and (arrival.through is None or compared(arrival.through) != compared(arrival.straight))
    ]
    assert changed == []
    assert len(arrivals) > 200


def test_odd_requests_carry_only_the_key_of_the_host(arrivals: list[Arrival]) -> None:
    served = [arrival.through for arrival in arrivals if arrival.through is not None]
    secrets = [
        [value for name, value in request.headers if name.replace(b"_", b"-") in CREDENTIALS] for request in served
    ]
    assert secrets == [[KEY.encode()]] * len(served)


def test_odd_requests_that_are_refused_never_arrive(arrivals: list[Arrival]) -> None:
    refused = {arrival.name: arrival.status for arrival in arrivals if arrival.through is None}
    assert refused == REFUSED
