"""Tests of request targets. Pure functions without a socket."""

from __future__ import annotations

import pytest
from nanoclaw_resource_gateway.target import NotServed, find_target

from nanoclaw_core import Upstream

API = Upstream(name="api", base_url="https://api.example/base", headers={"X-Api-Key": "secret"})


def test_first_segment_selects_the_upstream() -> None:
    """The rest of the path follows the base address of the upstream."""
    target = find_target("/api/v1/messages?beta=true", [API])
    assert target.url == "https://api.example/base/v1/messages?beta=true"
    assert target.path == "/v1/messages"


def test_harmless_percent_encoding_is_kept() -> None:
    assert find_target("/api/files/%C3%A4", [API]).url == "https://api.example/base/files/%C3%A4"


@pytest.mark.parametrize(
    "raw",
    [
        "/api/../secret",
        "/api/v1/../../secret",
        "/api/%2e%2e/secret",
        "/api/%252e%252e/secret",
        "/api/%25252e%25252e/secret",
        "/api/.%2e/secret",
        "/api/v1/./x",
        "/api//evil.example/x",
        "/api/v1//x",
        "/api/..%2fsecret",
        "/api/..%5csecret",
        "/api/a\\..\\b",
        "/api/..;/secret",
        "/api/%00",
        "/api/a%0d%0aHost:%20evil.example",
        "/api/%ff%2e%2e",
        "/api/v1/..",
        "http://evil.example/api/v1/messages",
        "//evil.example/api/v1",
        "api/v1",
        "evil.example:443",
        "*",
        "",
        "/api/v1#@evil.example",
        "/api/v1 /x",
        "/ap\u00edv1",
    ],
)
def test_target_that_could_lead_elsewhere_is_refused(raw: str) -> None:
    with pytest.raises(NotServed) as caught:
        find_target(raw, [API])
    assert caught.value.status in (400, 404)


@pytest.mark.parametrize(
    "raw", ["/api/@evil.example", "/api/.evil.example", "/api/:80", "/api/x?//evil.example/..", "/api"]
)
def test_target_cannot_change_the_host(raw: str) -> None:
    assert find_target(raw, [API]).url.startswith("https://api.example/base/")


def test_unknown_upstream_lists_the_declared_ones() -> None:
    with pytest.raises(NotServed, match="Known: api") as caught:
        find_target("/other/v1", [API])
    assert caught.value.status == 404


def test_repr_of_upstream_and_target_hides_the_credential() -> None:
    assert "secret" not in repr(API) + repr(find_target("/api/v1", [API]))
