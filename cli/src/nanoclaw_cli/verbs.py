"""Verbs: what is no local command is asked of the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanoclaw_cli import client, commands
from nanoclaw_cli.arguments import parse_verb
from nanoclaw_cli.failures import exit_code_of, print_json, tell
from nanoclaw_cli.invocation import Invocation
from nanoclaw_cli.manual import explained
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
        frame = _ask(words, options, invocation)
    except client.NoHost as error:
        raise client.NoHost(f"ncl itself has no command {words[0]!r}, and {error}{_hint(words)}") from error
    if invocation.as_json:
        print_json(frame)
    elif frame["ok"]:
        print(explained(frame.get("data")) if words[-1] == "help" else render(frame.get("data")))
    else:
        code, message = _error(frame)
        tell(code, _with_nearest(message, words) if code == "unknown-command" else message, as_json=False)
    return 0 if frame["ok"] else exit_code_of(_error(frame)[0])


def _ask(words: Sequence[str], options: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
    """Ask the host; `<noun> help` is the host's help about that noun, where there is any."""
    if len(words) > 1 and words[-1] == "help" and not options:
        frame = client.ask(invocation.home, ["help", words[0]], {}, invocation.environment)
        if not frame["ok"] or frame.get("data"):
            return frame
    return client.ask(invocation.home, list(words), options, invocation.environment)


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
