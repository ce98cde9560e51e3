"""A fake ntfy server that stores published messages and returns the errors of ntfy.

The errors follow https://docs.ntfy.sh/publish/ and https://docs.ntfy.sh/subscribe/api/: an invalid topic name (404), an
invalid `since` (400), a missing or wrong token (403, 401), a text over 4 096 bytes if the server accepts no files
(400), a file that is too large (413), and too many requests (429).
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

MAX_TEXT_BYTES = 4_096
ID_CHARS = 12
TOPIC = re.compile(r"/([-_A-Za-z0-9]{1,64})")
SINCE = re.compile(r"all|none|latest|\d+[smhd]?|[A-Za-z0-9]{12}")


class Refused(Exception):
    """An error of ntfy: the HTTP status, its own code and its message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"code": code, "http": status, "error": message}


class FakeNtfy:
    """The server. It listens on the loopback interface inside a `with` block.

    Args:
        token: The required access token. Empty: no token is required.
        is_writable: False refuses messages that are published over HTTP.
        file_bytes: The maximum size of a file. None refuses all files.
    """

    def __init__(self, *, token: str = "", is_writable: bool = True, file_bytes: int | None = None) -> None:
        self.token, self.is_writable, self.file_bytes = token, is_writable, file_bytes
        self.attempts = 0
        self.busy_for = 0
        self._messages: list[dict[str, Any]] = []
        self._polled: set[str] = set()
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """The address of the server, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def say(self, topic: str, text: str, timeout_s: float = 60.0) -> str:
        """Publish a message as a person with the app, and return its id.

        Wait for the channel's first poll: it asks only for messages since the second in which it began.

        Raises:
            TimeoutError: The channel did not poll the topic in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: topic in self._polled, timeout_s):
                raise TimeoutError(f"the channel did not poll the topic {topic!r} within {timeout_s:g} s")
        return str(self._store({"topic": topic, "message": text})["id"])

    def answers(self, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Wait for at least `count` messages of the agent, and return all of them.

        Raises:
            TimeoutError: Fewer messages arrived in time.
        """

        def received() -> list[dict[str, Any]]:
            return [message for message in self._messages if "nanoclaw" in message.get("tags", ())]

        with self._changed:
            if not self._changed.wait_for(lambda: len(received()) >= count, timeout_s):
                raise TimeoutError(f"{len(received())} of {count} answers arrived: {received()}")
            return received()

    def read(self, topic: str, since: str) -> str:
        """Return the messages published after `since`, one JSON object per line."""
        if not SINCE.fullmatch(since):
            raise Refused(400, 40008, "invalid since parameter")
        with self._changed:
            messages = [message for message in self._messages if message["topic"] == topic]
            self._polled.add(topic)
            self._changed.notify_all()
        ids = [message["id"] for message in messages]
        if since in ids:  # for an unknown id, ntfy returns all messages
            messages = messages[ids.index(since) + 1 :]
        elif since.isdigit() and len(since) != ID_CHARS:  # ntfy reads 12 digits as an id
            messages = [message for message in messages if message["time"] >= int(since)]
        return "".join(json.dumps(message) + "\n" for message in messages)

    def publish(self, topic: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """Store a message that is published over HTTP, or refuse it."""
        self.attempts += 1
        if not self.is_writable:
            raise Refused(403, 40301, "forbidden")
        if self.busy_for:
            self.busy_for -= 1
            raise Refused(429, 42901, "limit reached: too many requests, please be nice")
        message: dict[str, Any] = {"topic": topic, "tags": [tag for tag in headers.get("Tags", "").split(",") if tag]}
        if "Filename" in headers or len(body) > MAX_TEXT_BYTES:
            return self._store(message | self._attached(unquote(headers.get("Filename", "attachment.txt")), body))
        return self._store(message | {"message": body.decode() or "triggered"})

    def check(self, authorization: str) -> None:
        """Raise an error if the token of a request is missing or wrong."""
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

    def _store(self, message: dict[str, Any]) -> dict[str, Any]:
        stored = {"id": secrets.token_hex(ID_CHARS // 2), "time": int(time.time()), "event": "message", **message}
        with self._changed:
            self._messages.append(stored)
            self._changed.notify_all()
        return stored


def _handler_for(fake: FakeNtfy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is required by the library
            self._answer(self._read)

        def do_POST(self) -> None:
            self._answer(self._publish)

        def log_message(self, *_: object) -> None:
            """Log nothing, to keep the output of tests short."""

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
    match = TOPIC.fullmatch(path)
    if match is None:
        raise Refused(404, 40401, "page not found")
    return match[1]
