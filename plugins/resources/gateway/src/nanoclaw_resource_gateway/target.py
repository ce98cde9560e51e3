"""Where a request goes, decided from its target alone. Nothing that a sandbox writes can change host or path prefix."""

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
    *("x-http-method-override", "x-method-override"),  # what some servers would let change the request after our checks
}
_NOT_RETURNED = HOP_BY_HOP | {"set-cookie", "alt-svc", "location"}


class NotServed(Exception):
    """The request goes nowhere.

    Args:
        status: The HTTP status that says so.
        kind: An error type in the words of the Messages API.
        message: Why, for the client.
        record: The same in a few fixed words.
    """

    def __init__(self, status: int, kind: str, message: str, *, record: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.record = status, kind, message, record


@frozen(kw_only=True)
class Target:
    """Where a request goes.

    Args:
        url: Complete, percent-encoding as the client wrote it.
        path: After the upstream's base address, without query.
    """

    upstream: Upstream
    url: str = field(repr=False)
    path: str


def find_target(raw: str, upstreams: Sequence[Upstream]) -> Target:
    """Return where a request target leads.

    Args:
        raw: As it stood in the request line.

    Raises:
        NotServed: It leads nowhere that is declared.
    """
    if not _PRINTABLE.fullmatch(raw) or "#" in raw:
        raise _bad("the request target has to be a path: /<upstream>/<path>")
    path, mark, query = raw.partition("?")
    name, _, rest = path[1:].partition("/")
    upstream = next((upstream for upstream in upstreams if upstream.name == name), None)
    if upstream is None:
        known = ", ".join(sorted(upstream.name for upstream in upstreams)) or "none"
        message = f"no upstream of that name is declared; there are: {known}"
        raise NotServed(404, "not_found_error", message, record="unknown upstream")
    _check_segments(rest)
    return Target(upstream=upstream, url=f"{upstream.base_url.rstrip('/')}/{rest}{mark}{query}", path=f"/{rest}")


def _check_segments(path: str) -> None:
    """Refuse every path that some server might read as another one."""
    *inner, last = path.split("/")
    if "" in inner:
        raise _bad("the path has an empty segment")
    for segment in (*inner, last):
        if _is_unsafe(segment):
            raise _bad("the path has a segment that may not be in it")


def _is_unsafe(segment: str) -> bool:
    """Look at a segment as it is and decoded as often as it can be, because servers differ in how often they do."""
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
    """Return the refusal of a body that is over the limit."""
    message = f"the request body is larger than {limit_mib:g} MiB"
    return NotServed(413, "request_too_large", message, record="request too large")


def _bad(message: str) -> NotServed:
    return NotServed(400, "invalid_request_error", message, record="bad target")


def request_headers(sent: Iterable[tuple[str, str]], upstream: Upstream) -> list[tuple[str, str]]:
    """Return the headers for the upstream: what the sandbox sent and may send, then the credential."""
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
    longer = [(name, _with(sent, name, value)) for name, value in lists.items()]
    return [*kept, *longer, *ours.items(), ("accept-encoding", "identity")]  # or usage could not be read


def answer_headers(got: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers for the sandbox."""
    got = list(got)
    named = {token for name, value in got if name.lower() == "connection" for token in _tokens(value.lower())}
    return [(name, value) for name, value in got if name.lower() not in _NOT_RETURNED | named]


def _with(sent: Sequence[tuple[str, str]], name: str, value: str) -> str:
    """Add to a list header what is not in it yet."""
    already = [token for other, text in sent if other.lower() == name for token in _tokens(text)]
    return ",".join(dict.fromkeys([*already, *_tokens(value)]))


def _tokens(value: str) -> list[str]:
    return [token.strip() for token in value.split(",") if token.strip()]


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the proxy that the host's environment asks for, or None."""
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
