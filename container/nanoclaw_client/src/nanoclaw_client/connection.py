"""The thin client of a verb socket: one request out, one answer in, each a line of JSON.

Any number of progress frames, `{"id": …, "progress": "text"}`, may precede the answer. No asyncio.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from io import BufferedReader
from typing import Any, NamedTuple

from nanoclaw_wire.answer_frames import LOCAL_ID
from nanoclaw_wire.socket_path import short_path

from nanoclaw_client.errors import NotListening, TransportError

Frame = dict[str, Any]


class Endpoint(NamedTuple):
    """A server that answers verb requests.

    Args:
        socket: Path of its unix socket.
        name: Its name in error messages.
        advice: Remedy for a failure, in whole sentences.
    """

    socket: str | os.PathLike[str]
    name: str
    advice: str


def ask(
    endpoint: Endpoint,
    words: Sequence[str],
    options: Mapping[str, Any],
    *,
    timeout_s: float | None = None,
    on_progress: Callable[[str], None],
) -> Frame:
    """Send a request and return its answer frame.

    Args:
        endpoint: The server.
        words: The verb's words.
        options: The verb's options by name.
        timeout_s: Limit of one read in seconds. None waits as long as the verb runs.
        on_progress: Receives the text of each progress frame on arrival.

    Raises:
        NotListening: The socket does not exist, or no process listens on it.
        TransportError: The server cannot be reached, or its answer is invalid.
    """
    request = {"id": LOCAL_ID, "words": list(words), "options": dict(options)}
    with _connect(endpoint, timeout_s) as connection, connection.makefile("rb") as answers:
        try:
            with contextlib.suppress(ConnectionError):  # a server that rejects a long request answers before it closes
                connection.sendall(json.dumps(request).encode() + b"\n")
            return _read_answer(answers, endpoint, on_progress)
        except TimeoutError as error:
            message = f"{endpoint.name} did not answer within {timeout_s} s. {endpoint.advice}"
            raise TransportError(message) from error
        except OSError as error:
            raise TransportError(f"{endpoint.name} closed the connection: {error}. {endpoint.advice}") from error


def _connect(endpoint: Endpoint, timeout_s: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with short_path(endpoint.socket) as path:
            connection.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        connection.close()
        raise NotListening(f"{endpoint.name} is not listening. {endpoint.advice}") from error
    except OSError as error:
        connection.close()
        raise TransportError(f"{endpoint.name} cannot be reached: {error}. Does it belong to another user?") from error
    return connection


def _read_answer(answers: BufferedReader, endpoint: Endpoint, on_progress: Callable[[str], None]) -> Frame:
    while line := answers.readline():
        frame = _parse_frame(line)
        if isinstance(frame.get("ok"), bool):
            return frame
        if not isinstance(frame.get("progress"), str):
            raise TransportError(f"{endpoint.name} sent an invalid frame. Does it have another version?")
        on_progress(frame["progress"])
    raise TransportError(f"{endpoint.name} closed the connection before it answered. {endpoint.advice}")


def _parse_frame(line: bytes) -> Frame:
    """Return the JSON object of a line, or an empty frame if the line has none."""
    try:
        frame = json.loads(line)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
