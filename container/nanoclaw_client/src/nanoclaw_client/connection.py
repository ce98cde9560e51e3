"""The thin client of a socket where verbs are asked for: one request out, one answer in, each a line of JSON.

Before the answer any number of progress frames may come, `{"id": …, "progress": "text"}`. No asyncio.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from io import BufferedReader
from typing import Any, NamedTuple

from nanoclaw_wire.socket_path import short_path

from nanoclaw_client.errors import NotListening, TransportError

Frame = dict[str, Any]
ID = "cli"


class Endpoint(NamedTuple):
    """Who is asked.

    Args:
        socket: Where it listens.
        name: What it is called in messages.
        advice: What to do where it fails, the end of a sentence.
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
        timeout_s: How long one read may take; None waits as long as the verb does.
        on_progress: Gets the text of each progress frame as it comes.

    Raises:
        NotListening: There is no socket, or nobody behind it.
        TransportError: It could not be talked to, or answered nonsense.
    """
    request = {"id": ID, "words": list(words), "options": dict(options)}
    with _connect(endpoint, timeout_s) as connection, connection.makefile("rb") as answers:
        try:
            with contextlib.suppress(ConnectionError):  # whoever refuses to read it all says why before it hangs up
                connection.sendall(json.dumps(request).encode() + b"\n")
            return _answer(answers, endpoint, on_progress)
        except TimeoutError as error:
            why = f"{endpoint.name} did not answer within {timeout_s} s; {endpoint.advice}"
            raise TransportError(why) from error
        except OSError as error:
            raise TransportError(f"{endpoint.name} hung up: {error}; {endpoint.advice}") from error


def _connect(endpoint: Endpoint, timeout_s: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with short_path(endpoint.socket) as path:
            connection.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        connection.close()
        raise NotListening(f"{endpoint.name} does not listen; {endpoint.advice}") from error
    except OSError as error:
        connection.close()
        raise TransportError(f"{endpoint.name} cannot be reached: {error}; is it another user's?") from error
    return connection


def _answer(answers: BufferedReader, endpoint: Endpoint, on_progress: Callable[[str], None]) -> Frame:
    while line := answers.readline():
        frame = _frame(line)
        if isinstance(frame.get("ok"), bool):
            return frame
        if not isinstance(frame.get("progress"), str):
            why = "answered with something that is no frame; is it of another version?"
            raise TransportError(f"{endpoint.name} {why}")
        on_progress(frame["progress"])
    raise TransportError(f"{endpoint.name} hung up before it answered; {endpoint.advice}")


def _frame(line: bytes) -> Frame:
    """Read a line; one that is no JSON object is an empty frame."""
    try:
        frame = json.loads(line)
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
