"""Tests of the headers that pass the gateway. Pure functions without a socket."""

from __future__ import annotations

import pytest
from nanoclaw_resource_gateway.headers import answer_headers, request_headers

from nanoclaw_core import Upstream

API = Upstream(name="api", base_url="https://api.example/base", headers={"X-Api-Key": "secret"})


def test_credential_replaces_headers_of_the_sandbox() -> None:
    sent = [("X-API-KEY", "planted"), ("authorization", "Bearer planted"), ("Cookie", "planted"), ("x-kept", "1")]
    headers = request_headers(sent, API)
    assert headers == [("x-kept", "1"), ("x-api-key", "secret"), ("accept-encoding", "identity")]


def test_headers_that_change_host_or_connection_are_dropped() -> None:
    sent = [
        *(
            ("Host", "evil.example"),
            ("Connection", "close, X-Named"),
            ("X-Named", "1"),
            ("Transfer-Encoding", "chunked"),
        ),
        *(("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example"), ("X-Original-URL", "/admin")),
        *(("Upgrade", "h2c"), ("Proxy-Authorization", "x"), ("Accept-Encoding", "gzip"), ("TE", "trailers")),
    ]
    assert [name for name, _ in request_headers(sent, API)] == ["x-api-key", "accept-encoding"]


def test_list_header_is_extended_once() -> None:
    upstream = Upstream(name="api", base_url="https://api.example", append={"anthropic-beta": "oauth"})
    first = request_headers([("Anthropic-Beta", "a,b"), ("anthropic-beta", "c")], upstream)
    again = request_headers([("anthropic-beta", "oauth, a")], upstream)
    assert dict(first)["anthropic-beta"] == "a,b,c,oauth"
    assert dict(again)["anthropic-beta"] == "oauth,a"


def test_answer_has_no_cookie_and_no_connection_header() -> None:
    got = [("Set-Cookie", "x"), ("Connection", "keep-alive"), ("Transfer-Encoding", "chunked"), ("request-id", "1")]
    assert answer_headers(got) == [("request-id", "1")]


@pytest.mark.parametrize(
    "name",
    [
        *("x_api_key", "X_Api-Key", "Proxy_Authorization", "transfer_encoding", "X_Forwarded_Host", "Accept_Encoding"),
        *("X-HTTP-Method", "X_HTTP_Method_Override", "X-Method-Override", "X-HTTP-Host-Override", "X-Original-Host"),
        *("x_rewrite_url", "content_length", "x_named"),
    ],
)
def test_header_in_another_spelling_is_dropped(name: str) -> None:
    """Servers that pass headers on as variables read an underscore as a hyphen."""
    sent = [(name, "planted"), ("Connection", "x-named")]
    assert [name for name, _ in request_headers(sent, API)] == ["x-api-key", "accept-encoding"]


def test_list_header_with_underscores_is_not_forwarded() -> None:
    upstream = Upstream(name="api", base_url="https://api.example", append={"anthropic-beta": "oauth"})
    headers = request_headers([("anthropic_beta", "planted")], upstream)
    assert headers == [("anthropic-beta", "oauth"), ("accept-encoding", "identity")]


def test_repeated_header_gets_one_spelling() -> None:
    headers = request_headers([("X-Odd", "1"), ("x-odd", "2"), ("X_Odd", "3")], API)
    assert headers[:3] == [("X-Odd", "1"), ("X-Odd", "2"), ("X_Odd", "3")]


def test_answer_header_that_cannot_be_sent_is_dropped() -> None:
    assert answer_headers([("a", "\x1b[2J"), ("b", "\udcff"), ("c", "\tfine\u00e4")]) == [("c", "\tfine\u00e4")]
