"""Verbs: every command that is not local goes to the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanoclaw_client.arguments import parse_verb
from nanoclaw_client.connection import Frame
from nanoclaw_client.verbs import run_verb
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_cli import client, commands
from nanoclaw_cli.invocation import Invocation


def run(arguments: Sequence[str], invocation: Invocation) -> int:
    """Send a verb to the host, print its answer and return the exit code.

    Raises:
        UsageError: The command line is invalid, or names no command.
        TransportError: No host runs, or the host cannot be reached.
    """

    def ask(words: Sequence[str], options: Mapping[str, Any]) -> Frame:
        return client.ask(invocation.home, words, options, invocation.environment)

    try:
        return run_verb(arguments, ask=ask, as_json=invocation.as_json, local_commands=_local_commands)
    except client.NoHost as error:
        word = parse_verb(arguments).words[0]
        hint = did_you_mean(word, _local_commands(), show="`ncl {}`".format)
        raise client.NoHost(f"ncl has no local command {word!r}, and {error} {hint}".rstrip()) from error


def _local_commands() -> list[str]:
    return [command.name for command in commands.known()]
