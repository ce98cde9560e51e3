"""Verbs: what is no local command is asked of the host."""

from __future__ import annotations

from collections.abc import Sequence

from nanoclaw_cli import client, commands
from nanoclaw_cli.arguments import parse_verb
from nanoclaw_cli.failures import exit_code_of, print_json, tell
from nanoclaw_cli.invocation import Invocation
from nanoclaw_cli.nearest import nearest
from nanoclaw_cli.rendering import render
from nanoclaw_core import InvalidArguments


def run(arguments: Sequence[str], invocation: Invocation) -> int:
    """Ask the host for a verb and show its answer; return the exit code.

    Raises:
        InvalidArguments: The command line makes no sense, or names no command.
        TransportError: No host runs, or it cannot be talked to.
    """
    words, options = parse_verb(arguments)
    if not words:
        raise InvalidArguments(f"{arguments[0]} is no command; `ncl help` lists what there is")
    try:
        frame = client.ask(invocation.home, words, options, invocation.environment)
    except client.NoHost as error:
        raise client.NoHost(f"ncl itself has no command {words[0]!r}, and {error}{_hint(words)}") from error
    if invocation.as_json:
        print_json(frame)
    elif frame["ok"]:
        print(render(frame.get("data")))
    else:
        code, message = _error(frame)
        tell(code, _with_nearest(message, words) if code == "unknown-command" else message, as_json=False)
    return 0 if frame["ok"] else exit_code_of(_error(frame)[0])


def _error(frame: dict[str, object]) -> tuple[str, str]:
    error = frame.get("error")
    if not isinstance(error, dict):
        return "handler-error", "the host gave no reason"
    return str(error.get("code") or "handler-error"), str(error.get("message") or "the host gave no reason")


def _with_nearest(message: str, words: Sequence[str]) -> str:
    """Suggest a command of ours in place of the host's verbs, unless the host knows better what several words meant."""
    near = _nearest(words)
    if not near or (len(words) > 1 and "did you mean" in message):
        return message
    return f"there is no command {' '.join(words)!r}; did you mean `ncl {near}`?"


def _hint(words: Sequence[str]) -> str:
    near = _nearest(words)
    return f" (did you mean `ncl {near}`?)" if near else ""


def _nearest(words: Sequence[str]) -> str:
    return nearest(words[0], (command.name for command in commands.known()))
