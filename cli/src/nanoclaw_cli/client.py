"""The thin client of the control socket: one request out, one answer in, both one line of JSON. No asyncio."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoclaw_wire.socket_path import short_path

from nanoclaw_cli.invocation import as_typed
from nanoclaw_core import TransportError

SOCKET = "ncl.sock"


class NoHost(TransportError):
    """Nothing listens on the instance directory."""


def ask(
    home: Path,
    words: list[str],
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Send a request to the host on an instance directory and return its answer frame.

    Args:
        timeout_s: How long one read may take; None waits as long as the verb does.

    Raises:
        NoHost: No host runs there; the message says how to start one.
        TransportError: The host could not be talked to, or answered nonsense.
    """
    request = {"id": "cli", "words": words, "options": dict(options)}
    with _connect(home, environment, timeout_s) as connection:
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = _read_line(connection)
        except TimeoutError as error:
            raise TransportError(f"the host on {home} did not answer within {timeout_s} s; see `ncl logs`") from error
        except OSError as error:
            raise TransportError(f"the host on {home} hung up: {error}; see `ncl logs`") from error
    return _frame(line, home)


def _connect(home: Path, environment: Mapping[str, str], timeout_s: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    path = home / "run" / SOCKET
    try:
        with short_path(path) as short:
            connection.connect(short)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        connection.close()
        if home.is_file():
            raise NoHost(f"{home} is a file; name an instance directory with --home") from error
        raise NoHost(f"no host runs on {home}; start one with `{as_typed('serve', home, environment)}`") from error
    except OSError as error:
        connection.close()
        raise TransportError(f"the host on {home} cannot be reached: {error}; is it another user's?") from error
    return connection


def _read_line(connection: socket.socket) -> bytes:
    chunks: list[bytes] = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
        if chunk.endswith(b"\n"):
            break
    return b"".join(chunks)


def _frame(line: bytes, home: Path) -> dict[str, Any]:
    if not line:
        raise TransportError(f"the host on {home} hung up before it answered; see `ncl logs`")
    try:
        frame = json.loads(line)
    except ValueError:
        frame = None
    if not isinstance(frame, dict) or not isinstance(frame.get("ok"), bool):
        raise TransportError(f"the host on {home} answered with something that is no frame; is it of another version?")
    return frame
