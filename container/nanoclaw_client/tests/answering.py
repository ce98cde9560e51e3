"""Somebody who answers at a unix socket with what a test says."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

WAIT_S = 60.0


@contextlib.contextmanager
def answering(path: Path, *answers: bytes, reads: bool = True) -> Iterator[list[dict[str, object]]]:
    """Serve each connection with the next answer, then hang up; gives the requests that came so far.

    Args:
        reads: False hangs up with the request unread.
    """
    requests: list[dict[str, object]] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(WAIT_S)

    def serve() -> None:
        for answer in answers:
            connection, _address = listener.accept()
            with connection, connection.makefile("rb") as lines:
                if reads:
                    requests.append(json.loads(lines.readline()))
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield requests
        thread.join(WAIT_S)
    finally:
        listener.close()


def line(**frame: object) -> bytes:
    """Return a frame as it goes over the socket."""
    return json.dumps({"id": "cli", **frame}).encode() + b"\n"
