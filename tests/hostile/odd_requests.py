"""Odd requests, to send straight and through the gateway."""

from __future__ import annotations

import gzip
import itertools
import zlib

from attrs import frozen

ALL_BYTES = bytes(range(256)) * 3
SMUGGLED = b"0\r\n\r\nPOST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
DEFLATED = zlib.compress(b"words " * 500)
BODIES = {"empty gzip": gzip.compress(b"", mtime=0), "gzip": gzip.compress(b"words " * 500, mtime=0)}
BODIES |= {"deflate": DEFLATED, "cut gzip": BODIES["gzip"][:20], "no gzip": ALL_BYTES, "smuggled": SMUGGLED}


@frozen
class OddRequest:
    """A request; its target and headers are the bytes of a sandbox."""

    name: str
    method: str = "POST"
    target: bytes = b"/v1/messages"
    headers: bytes = b""
    body: bytes = b""
    version: bytes = b"1.1"

    def as_bytes(self, prefix: bytes) -> bytes:
        first = self.method.encode() + b" " + prefix + self.target + b" HTTP/" + self.version
        return first + b"\r\nHost: sandbox\r\n" + self.headers + b"\r\n" + self.body


def _with_length(name: str, body: bytes, headers: bytes = b"", method: str = "POST") -> OddRequest:
    return OddRequest(name, method, headers=headers + b"Content-Length: %d\r\n" % len(body), body=body)


def _chunked(name: str, *pieces: bytes, headers: bytes = b"", end: bytes = b"0\r\n\r\n") -> OddRequest:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end
    return OddRequest(name, headers=headers + b"Transfer-Encoding: chunked\r\n", body=body)


def odd_requests() -> list[OddRequest]:
    """Return more than 200 requests with different names."""
    return [*_methods(), *_encodings(), *_framings(), *_headers(), *_targets()]


def _methods() -> list[OddRequest]:
    plain = [OddRequest(f"{method} without a body", method) for method in METHODS]
    empty = [_with_length(f"{method} with length 0", b"", method=method) for method in METHODS]
    full = [_with_length(f"{method} with a body", ALL_BYTES, method=method) for method in METHODS]
    old = [
        OddRequest(f"{method} of HTTP/1.0", method, headers=b"Content-Length: 3\r\n", body=b"abc", version=b"1.0")
        for method in METHODS
    ]
    return [*plain, *empty, *full, *old]


def _encodings() -> list[OddRequest]:
    names = ("gzip", "GZIP", "deflate", "br", "zstd", "identity", "gzip, br", "x-gzip", "nonsense")
    found = []
    for encoding, (kind, body) in itertools.product(names, BODIES.items()):
        header = f"Content-Encoding: {encoding}\r\n".encode()
        found.append(_with_length(f"{kind} as {encoding} with a length", body, header))
        found.append(_chunked(f"{kind} as {encoding} in chunks", body[:7], body[7:], headers=header))
    return found


def _framings() -> list[OddRequest]:
    return [
        _chunked("no chunk"),
        _chunked("chunks of one byte", *(bytes([byte]) for byte in ALL_BYTES[:64])),
        _chunked("chunk like a request", SMUGGLED),
        _chunked("a trailer", b"abc", end=b"0\r\nX-Trailer: 1\r\n\r\n"),
        _chunked("large chunks", bytes(100_000), bytes(100_000)),
        OddRequest("chunk extension", headers=b"Transfer-Encoding: chunked\r\n", body=b"3;a=b\r\nabc\r\n0\r\n\r\n"),
        OddRequest("upper-case size", headers=b"Transfer-Encoding: chunked\r\n", body=b"A\r\n0123456789\r\n0\r\n\r\n"),
        OddRequest("zeros before the size", headers=b"Transfer-Encoding: Chunked\r\n", body=b"003\r\nabc\r\n0\r\n\r\n"),
        OddRequest("zeros before the length", headers=b"Content-Length: 0003\r\n", body=b"abc"),
        _with_length("a megabyte", bytes(1024**2)),
        _with_length("body like a request", SMUGGLED),
        _with_length("expects an answer", b"abc", b"Expect: 100-continue\r\n"),
        _with_length("length named by Connection", b"abc", b"Connection: content-length\r\n"),
        _with_length("a second length", b"abc", b"Content_Length: 99\r\n"),
    ]


def _headers() -> list[OddRequest]:
    values = {
        "no value": b"",
        "blanks around": b" \t x \t ",
        "tab inside": b"a\tb",
        "UTF-8": "\u00e4\u65e5".encode(),
        "quotes": b'"a, b"; c="d\\"e"',
        "colons": b"::a:b::",
        "8000 bytes": b"x" * 8_000,
        "percent": b"%0d%0aX-Planted: 1",
        "Latin-1": b"\xe4",
        "escape": b"\x1b[2J",
        "delete": b"\x7f",
    }
    lines = {
        "repeated": b"X-Odd: 1\r\nX-Odd: 2\r\nx-odd: 1\r\n",
        "name of marks": b"!#$%&'*+-.^_`|~a: 1\r\n",
        "underscore": b"x_odd: 1\r\n",
        "names of a variable": b"HTTP_X: 1\r\nREMOTE_ADDR: 1\r\n",
        "no type": b"",
        "types": b"Content-Type: text/plain\r\nAccept: */*\r\nUser-Agent: odd/1\r\n",
        "90 headers": b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(90)),
        "ranges": b"Range: bytes=0-3\r\nIf-Match: *\r\nDate: yesterday\r\n",
        "credentials": b"Authorization: Bearer x\r\nX-Api-Key: x\r\nX_API_Key: x\r\nCookie: x\r\n",
        "hosts": b"X-Forwarded-Host: e\r\nX_Forwarded_For: e\r\nForwarded: e\r\nX-Host: e\r\nX-Original-URL: /\r\n",
        "methods": b"X-HTTP-Method: PUT\r\nX_HTTP_Method_Override: PUT\r\nX-Method-Override: PUT\r\n",
        "connection": b"Connection: keep-alive, X-Mine, x_yours\r\nX-Mine: 1\r\nX-Yours: 1\r\nTE: gzip\r\n",
        "encodings": b"Accept-Encoding: gzip, br\r\nAccept_Encoding: gzip\r\n",
    }
    found = {f"value with {name}": b"X-Odd: " + value + b"\r\n" for name, value in values.items()} | lines
    return [_with_length(f"header: {name}", b"abc", header) for name, header in found.items()]


def _targets() -> list[OddRequest]:
    paths = (
        b"/",
        b"/v1/",
        b"/v1;a=b/c",
        b"/v1/:a",
        b"/v1/@b",
        b"/a+b",
        b"/~a",
        b"/a%20b",
        b"/%C3%A4",
        b"/%41",
        b"/%7E",
    )
    marks = (b"/'", b'/"', b"/<a>", b"/{a}", b"/[a]", b"/a|b", b"/a^b", b"/a`b", b"/a,b", b"/$a", b"/a!b", b"/(a)*")
    queries = (b"a=b&a=b", b"&&", b"=", b"a", b"a=%20+", b"a=/../", b"a=//x", b"?", b"a='\"<>", b"a={}|^`", b"%zz", b"")
    queries = (*queries, b"a=http://evil.example/", b"a=%00", b"a=%C3", b"a=;b", b"@:", b"long=" + b"x" * 7_000)
    long_path = b"/" + b"x" * 7_000
    targets = [*paths, *marks, long_path, *(b"/v1?" + query for query in queries)]
    return [OddRequest(f"target {target[:30].decode()}", "GET", target) for target in targets]
