"""A server on a unix socket that sends the answers of a test."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

WAIT_S = 60.0


@contextlib.contextmanager
def answering(path: Path, *answers: bytes, reads: bool = True) -> Iterator[list[dict[str, object]]]:
    """Send one answer per connection and yield the list of requests received so far.

    Args:
        path: Path of the socket.
        answers: Raw answers in order; the last one is repeated.
        reads: False closes each connection without reading the request.
    """
    requests: list[dict[str, object]] = []
    is_over = threading.Event()
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(WAIT_S)

    def serve() -> None:
        for answer in itertools.chain(answers, itertools.repeat(answers[-1])):
            connection, _address = listener.accept()
            with connection, connection.makefile("rb") as lines:
                if is_over.is_set():
                    return
                if reads:
                    requests.append(json.loads(lines.readline()))
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield requests
    finally:
        is_over.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join(WAIT_S)
        listener.close()


def line(**frame: object) -> bytes:
    """Return a frame as its line on the socket."""
    return json.dumps({"id": "cli", **frame}).encode() + b"\n"
