"""Decides where a request goes.

Nothing that a sandbox sends can change the host or the path prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from nanoclaw_core import Upstream

_PRINTABLE = re.compile(r"/[!-~]*")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")
MAX_DECODINGS = 4

HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "trailers", "transfer-encoding", "upgrade"),
    }
)
_NOT_FORWARDED = HOP_BY_HOP | {
    *("host", "expect", "accept-encoding", "cookie"),
    *("forwarded", "via", "x-real-ip", "x-host", "x-original-url", "x-rewrite-url", "x-original-host"),
    *(
        "x-http-method-override",
        "x-method-override",
    ),  # some servers would change the request because of these, after our checks
}
_NOT_RETURNED = HOP_BY_HOP | {"set-cookie", "alt-svc", "location"}


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


def request_headers(sent: Iterable[tuple[str, str]], upstream: Upstream) -> list[tuple[str, str]]:
    """Return the headers for the upstream: the sandbox's permitted ones, the credential."""
    sent = list(sent)
    named = {token for name, value in sent if name.lower() == "connection" for token in _tokens(value.lower())}
    ours = {name.lower(): value for name, value in upstream.headers.items()}
    lists = {name.lower(): value for name, value in upstream.append.items()}
    dropped = _NOT_FORWARDED | named | upstream.strip | ours.keys()
    kept = [
        (name, value)
        for name, value in sent
        if (lower := name.lower()) not in dropped and lower not in lists and not lower.startswith("x-forwarded")
    ]
    extended = [(name, _extended(sent, name, value)) for name, value in lists.items()]
    return [
        *kept,
        *extended,
        *ours.items(),
        ("accept-encoding", "identity"),
    ]  # a compressed answer would hide the usage


def answer_headers(got: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an answer that the sandbox may receive."""
    got = list(got)
    named = {token for name, value in got if name.lower() == "connection" for token in _tokens(value.lower())}
    return [(name, value) for name, value in got if name.lower() not in _NOT_RETURNED | named]


def _extended(sent: Sequence[tuple[str, str]], name: str, value: str) -> str:
    """Return the value of a list header with the missing tokens appended."""
    present = [token for other, text in sent if other.lower() == name for token in _tokens(text)]
    return ",".join(dict.fromkeys([*present, *_tokens(value)]))


def _tokens(value: str) -> list[str]:
    return [token.strip() for token in value.split(",") if token.strip()]


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the proxy that the host's environment sets for an address, or None."""
    parts = urlsplit(url)
    names = (f"{parts.scheme}_proxy", "all_proxy")
    proxy = next((environment[key] for name in names for key in (name, name.upper()) if environment.get(key)), None)
    if proxy is None or _is_exempt(
        parts.hostname or "", environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    ):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str, no_proxy: str) -> bool:
    domains = [entry.lstrip(".").lower() for entry in _tokens(no_proxy)]
    return "*" in domains or any(host == domain or host.endswith(f".{domain}") for domain in domains)
