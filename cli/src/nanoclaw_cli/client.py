"""Asking the host on an instance directory over its control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanoclaw_client import connection
from nanoclaw_client.connection import Endpoint, Frame
from nanoclaw_client.errors import NotListening, TransportError
from nanoclaw_client.output import print_progress

from nanoclaw_cli.invocation import as_typed

SOCKET = "ncl.sock"


class NoHost(TransportError):
    """Nothing listens on the instance directory."""


def ask(
    home: Path,
    words: Sequence[str],
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    timeout_s: float | None = None,
) -> Frame:
    """Send a request to the host on an instance directory and return its answer frame; progress goes to stderr.

    Args:
        timeout_s: How long one read may take; None waits as long as the verb does.

    Raises:
        NoHost: No host runs there; the message says how to start one.
        TransportError: The host could not be talked to, or answered nonsense.
    """
    host = Endpoint(home / "run" / SOCKET, f"the host on {home}", "see `ncl logs`")
    try:
        return connection.ask(host, words, options, timeout_s=timeout_s, on_progress=print_progress)
    except NotListening as error:
        if home.is_file():
            raise NoHost(f"{home} is a file; name an instance directory with --home") from error
        raise NoHost(f"no host runs on {home}; start one with `{as_typed('serve', home, environment)}`") from error
