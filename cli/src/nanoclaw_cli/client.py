"""Sends requests to the host of an instance directory over its control socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanoclaw_client import connection
from nanoclaw_client.connection import Endpoint, Frame
from nanoclaw_client.errors import NotListening, TransportError
from nanoclaw_client.output import print_progress
from nanoclaw_wire.names import CONTROL_SOCKET

from nanoclaw_cli.invocation import shell_command


class NoHost(TransportError):
    """No host listens in the instance directory."""


def ask(
    home: Path,
    words: Sequence[str],
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    timeout_s: float | None = None,
) -> Frame:
    """Send a request to an instance's host and return its answer frame.

    Progress goes to stderr.

    Args:
        home: The instance directory.
        words: The verb's words.
        options: The verb's options by name.
        environment: Decides whether the message of `NoHost` names the instance directory.
        timeout_s: Limit of one read in seconds. None waits as long as the verb runs.

    Raises:
        NoHost: No host runs there. The message gives the command that starts one.
        TransportError: The host cannot be reached, or its answer is invalid.
    """
    host = Endpoint(home / "run" / CONTROL_SOCKET, f"the host on {home}", "See `ncl logs`.")
    try:
        return connection.ask(host, words, options, timeout_s=timeout_s, on_progress=print_progress)
    except NotListening as error:
        if home.is_file():
            raise NoHost(f"{home} is a file. Name an instance directory with --home.") from error
        command = shell_command("serve", home, environment)
        raise NoHost(f"no host runs on {home}. Start one with `{command}`.") from error
