"""A local stand-in for an ntfy server: it keeps what is published, and refuses what ntfy refuses.

The refusals are those of https://docs.ntfy.sh/publish/ and https://docs.ntfy.sh/subscribe/api/: a name that is no topic
(404), a `since` that says nothing (400), a topic that needs a token (401, 403), a text over 4 096 bytes where no files
are taken (400), a file that is too large (413), and too many requests (429).
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

TEXT_BYTES = 4_096
TOPIC = re.compile(r"/([-_A-Za-z0-9]{1,64})")
SINCE = re.compile(r"all|none|latest|\d+[smhd]?|[A-Za-z0-9]{12}")


class Refused(Exception):
    """What ntfy says no to: an HTTP status, its own code, and its words."""

    def __init__(self, status: int, code: int, words: str) -> None:
        super().__init__(words)
        self.status, self.body = status, {"code": code, "http": status, "error": words}


class FakeNtfy:
    """The server; listens on the loopback while the `with` lasts.

    Args:
        token: What a request needs to be let in; empty lets everybody in.
        is_writable: False refuses whatever is published over HTTP.
        file_bytes: How large a file may be; None takes no files.
    """

    def __init__(self, *, token: str = "", is_writable: bool = True, file_bytes: int | None = None) -> None:
        self.token, self.is_writable, self.file_bytes = token, is_writable, file_bytes
        self.attempts = 0
        self.busy_for = 0
        self._messages: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def say(self, topic: str, text: str) -> str:
        """Let somebody publish with the app; return the message's id."""
        return str(self._keep({"topic": topic, "message": text})["id"])

    def answers(self, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Wait for so many messages of the agent; return all there are.

        Raises:
            TimeoutError: They did not come.
        """

        def found() -> list[dict[str, Any]]:
            return [message for message in self._messages if "nanoclaw" in message.get("tags", ())]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= count, timeout_s):
                raise TimeoutError(f"{len(found())} of {count} answers came: {found()}")
            return found()

    def read(self, topic: str, since: str) -> str:
        """Return what was published after a point, one JSON object a line."""
        if not SINCE.fullmatch(since):
            raise Refused(400, 40008, "invalid since parameter")
        with self._changed:
            kept = [message for message in self._messages if message["topic"] == topic]
        if since.isdigit():
            kept = [message for message in kept if message["time"] >= int(since)]
        ids = [message["id"] for message in kept]
        if since in ids:  # of an id that it does not know ntfy returns everything
            kept = kept[ids.index(since) + 1 :]
        return "".join(json.dumps(message) + "\n" for message in kept)

    def publish(self, topic: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """Take a message, or refuse it."""
        self.attempts += 1
        if not self.is_writable:
            raise Refused(403, 40301, "forbidden")
        if self.busy_for:
            self.busy_for -= 1
            raise Refused(429, 42901, "limit reached: too many requests, please be nice")
        message: dict[str, Any] = {"topic": topic, "tags": [tag for tag in headers.get("Tags", "").split(",") if tag]}
        if "Filename" in headers or len(body) > TEXT_BYTES:
            return self._keep(message | self._attached(unquote(headers.get("Filename", "attachment.txt")), body))
        return self._keep(message | {"message": body.decode() or "triggered"})

    def check(self, authorization: str) -> None:
        """Let a request in, or refuse it."""
        if self.token and not authorization:
            raise Refused(403, 40301, "forbidden")
        if self.token and authorization != f"Bearer {self.token}":
            raise Refused(401, 40101, "unauthorized")

    def _attached(self, name: str, body: bytes) -> dict[str, Any]:
        if self.file_bytes is None:
            raise Refused(400, 40014, "invalid request: attachments not allowed")
        if len(body) > self.file_bytes:
            raise Refused(413, 41301, "attachment too large, or bandwidth limit reached")
        return {"message": f"You received a file: {name}", "attachment": {"name": name, "size": len(body)}}

    def _keep(self, message: dict[str, Any]) -> dict[str, Any]:
        kept = {"id": secrets.token_hex(6), "time": int(time.time()), "event": "message", **message}
        with self._changed:
            self._messages.append(kept)
            self._changed.notify_all()
        return kept


def _handler_for(fake: FakeNtfy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's names
            self._answer(self._read)

        def do_POST(self) -> None:
            self._answer(self._publish)

        def log_message(self, *_: object) -> None:
            """Keep the output of tests free of requests."""

        def _read(self) -> str:
            target = urlsplit(self.path)
            return fake.read(_topic(target.path.removesuffix("/json")), parse_qs(target.query)["since"][0])

        def _publish(self) -> str:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            return json.dumps(fake.publish(_topic(self.path), body, dict(self.headers)))

        def _answer(self, work: Any) -> None:
            try:
                fake.check(self.headers.get("Authorization", ""))
                status, text = 200, work()
            except Refused as refused:
                status, text = refused.status, json.dumps(refused.body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-ndjson")
            self.end_headers()
            self.wfile.write(text.encode())

    return Handler


def _topic(path: str) -> str:
    found = TOPIC.fullmatch(path)
    if found is None:
        raise Refused(404, 40401, "page not found")
    return found[1]
