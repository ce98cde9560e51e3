"""Decides where a request goes.

Nothing that a sandbox sends can change the host or the path prefix.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from attrs import field, frozen

from nanoclaw_core import Upstream

_PRINTABLE = re.compile(r"/[!-~]*")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
MAX_DECODINGS = 4


class NotServed(Exception):
    """The request is not forwarded.

    Args:
        status: The HTTP status of the reply.
        kind: An error type of the Messages API.
        message: The reason, for the client.
        record: The reason in a few fixed words, for the record.
    """

    def __init__(self, status: int, kind: str, message: str, *, record: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.record = status, kind, message, record


@frozen(kw_only=True)
class Target:
    """The target of a request.

    Args:
        upstream: The declared upstream.
        url: The complete address, with the percent-encoding of the client.
        path: The path after the base address of the upstream, without query.
    """

    upstream: Upstream
    url: str = field(repr=False)
    path: str


def find_target(raw: str, upstreams: Sequence[Upstream]) -> Target:
    """Return the target of a request.

    Args:
        raw: The target as written in the request line.
        upstreams: The declared upstreams of the session.

    Raises:
        NotServed: The target is invalid or names no declared upstream.
    """
    if not _PRINTABLE.fullmatch(raw) or "#" in raw:
        raise _bad("the request target must be a path: /<upstream>/<path>")
    path, mark, query = raw.partition("?")
    name, _, rest = path[1:].partition("/")
    upstream = next((upstream for upstream in upstreams if upstream.name == name), None)
    if upstream is None:
        known = ", ".join(sorted(upstream.name for upstream in upstreams)) or "none"
        message = f"the first segment of the path must name a declared upstream. Known: {known}"
        raise NotServed(404, "not_found_error", message, record="unknown upstream")
    _check_segments(rest)
    return Target(upstream=upstream, url=f"{upstream.base_url.rstrip('/')}/{rest}{mark}{query}", path=f"/{rest}")


def _check_segments(path: str) -> None:
    """Refuse a path that some server might interpret as another one."""
    *inner, last = path.split("/")
    if "" in inner:
        raise _bad("the path has an empty segment")
    for segment in (*inner, last):
        if _is_unsafe(segment):
            raise _bad("the path has a forbidden segment")


def _is_unsafe(segment: str) -> bool:
    """Check a segment raw and after each decoding.

    Servers differ in how often they decode.
    """
    for _ in range(MAX_DECODINGS):
        if segment in (".", "..") or segment.startswith(("..;", ".;")) or _UNSAFE.search(segment):
            return True
        decoded = unquote(segment, errors="strict") if _is_text(segment) else "\x00"
        if decoded == segment:
            return False
        segment = decoded
    return True


def _is_text(segment: str) -> bool:
    try:
        unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def too_large(limit_mib: float) -> NotServed:
    """Return the error for a request body over the limit."""
    message = f"the request body is larger than {limit_mib:g} MiB"
    return NotServed(413, "request_too_large", message, record="request too large")


def _bad(message: str) -> NotServed:
    return NotServed(400, "invalid_request_error", message, record="bad target")
