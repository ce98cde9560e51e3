"""Decides which headers pass, in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nanoclaw_core import Upstream
from nanoclaw_resource_gateway.target import NotServed

MAX_HEADERS, MAX_NAME_CHARACTERS, MAX_FIELD_BYTES, MAX_HEAD_CHARACTERS = 100, 200, 8_190, 65_536

HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "trailers", "transfer-encoding", "upgrade"),
    }
)
_NOT_FORWARDED = HOP_BY_HOP | {"host", "expect", "accept-encoding", "cookie", "forwarded", "via", "x-real-ip", "x-host"}
# Some servers change the method, the host or the path because of these, after the checks of the gateway.
_NOT_FORWARDED_PREFIXES = ("x-forwarded", "x-http-", "x-method", "x-original-", "x-rewrite-")
_NOT_RETURNED = HOP_BY_HOP | {"set-cookie", "alt-svc", "location"}
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")  # surrogates stand for bytes that are not UTF-8


def require_bounded_head(method_and_target: str, sent: Iterable[tuple[str, str]]) -> None:
    """Check the size of a request's head, and the characters of its headers.

    Raises:
        NotServed: It exceeds a limit, or a value cannot be forwarded unchanged.
    """
    sent = list(sent)
    if len(sent) > MAX_HEADERS:
        raise _bad_head(f"the request has {len(sent)} headers, at most {MAX_HEADERS} are allowed")
    if any(len(name) > MAX_NAME_CHARACTERS for name, _ in sent):
        raise _bad_head(f"a header's name is longer than {MAX_NAME_CHARACTERS} characters")
    if len(method_and_target) + sum(len(name) + len(value) for name, value in sent) > MAX_HEAD_CHARACTERS:
        raise _bad_head(f"the request's head is longer than {MAX_HEAD_CHARACTERS} characters")
    invalid = next((name for name, value in sent if not is_plain(value)), None)
    if invalid is not None:
        raise _bad_head(f"the value of the header {invalid} must be UTF-8 without control characters", status=400)


def is_plain(value: str) -> bool:
    """Return whether a header's value arrives unchanged: UTF-8 without control characters."""
    return _VALUE.fullmatch(value) is not None


def request_headers(sent: Iterable[tuple[str, str]], upstream: Upstream) -> list[tuple[str, str]]:
    """Return the headers for the upstream: the sandbox's permitted ones, the credential."""
    sent = list(sent)
    ours = {name.lower(): value for name, value in upstream.headers.items()}
    lists = {name.lower(): value for name, value in upstream.append.items()}
    dropped = _NOT_FORWARDED | _named_by_connection(sent) | {_key(name) for name in (*upstream.strip, *ours, *lists)}
    spelling: dict[str, str] = {}  # aiohttp loses the values of a name that comes in two spellings
    kept = [(spelling.setdefault(name.lower(), name), value) for name, value in sent if not _is_dropped(name, dropped)]
    extended = [(name, _extended(sent, name, value)) for name, value in lists.items()]
    identity = ("accept-encoding", "identity")  # a compressed answer would hide the usage
    return [*kept, *extended, *ours.items(), identity]


def answer_headers(got: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of an answer that the sandbox may receive."""
    got = list(got)
    dropped = _NOT_RETURNED | _named_by_connection(got)
    return [(name, value) for name, value in got if _key(name) not in dropped and is_plain(value)]


def _key(name: str) -> str:
    """Return the name under which headers are compared.

    Servers that pass headers on as variables (CGI, WSGI) read an underscore as a hyphen.
    """
    return name.lower().replace("_", "-")


def _is_dropped(name: str, dropped: frozenset[str]) -> bool:
    key = _key(name)
    is_second_length = key == "content-length" and "_" in name
    return key in dropped or key.startswith(_NOT_FORWARDED_PREFIXES) or is_second_length


def _named_by_connection(headers: Sequence[tuple[str, str]]) -> frozenset[str]:
    """Return the headers that belong to one connection, because its `Connection` header names them."""
    return frozenset(_key(token) for name, value in headers if name.lower() == "connection" for token in tokens(value))


def _extended(sent: Sequence[tuple[str, str]], name: str, value: str) -> str:
    """Return the value of a list header with the missing tokens appended."""
    present = [token for other, text in sent if other.lower() == name for token in tokens(text)]
    return ",".join(dict.fromkeys([*present, *tokens(value)]))


def tokens(value: str) -> list[str]:
    """Split a comma-separated list, and leave out empty items."""
    return [token.strip() for token in value.split(",") if token.strip()]


def _bad_head(message: str, *, status: int = 431) -> NotServed:
    return NotServed(status, "invalid_request_error", message, record="bad head")
