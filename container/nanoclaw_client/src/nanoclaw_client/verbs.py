"""Sends verb requests and prints the answers. Host and sandbox share this code, so both print the same bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_client.arguments import parse_verb
from nanoclaw_client.connection import Frame
from nanoclaw_client.errors import UsageError
from nanoclaw_client.help_text import explain, matching_verbs, overview, verb_names
from nanoclaw_client.output import exit_code_of, print_error, print_json, print_text
from nanoclaw_client.rendering import render

Ask = Callable[[Sequence[str], Mapping[str, Any]], Frame]


def run_verb(
    arguments: Sequence[str], *, ask: Ask, as_json: bool, local_commands: Callable[[], Iterable[str]] = tuple
) -> int:
    """Run a verb, print its answer and return the exit code.

    Args:
        arguments: The verb's command line.
        ask: Sends words and options, and returns the answer frame.
        as_json: True prints the whole answer frame.
        local_commands: Returns the commands that `ncl` runs itself, to suggest one for a mistyped word.

    Raises:
        UsageError: The command line is invalid, or names no command.
        TransportError: The server cannot be reached, or its answer is invalid.
    """
    words, options = parse_verb(arguments)
    if not words:
        raise UsageError(f"{arguments[0]}: not a command. `ncl help` lists the commands.")
    frame = _request(words, options, ask)
    if as_json:
        print_json(frame)
    elif frame["ok"]:
        print_text(_format_answer(words, frame.get("data")))
    else:
        code, message = _code_and_message(frame)
        if code == "unknown-command":
            message = _list_completions(words, ask) or _suggest_command(message, words, local_commands())
        print_error(code, message, as_json=False)
    return 0 if frame["ok"] else exit_code_of(_code_and_message(frame)[0])


def _request(words: Sequence[str], options: Mapping[str, Any], ask: Ask) -> Frame:
    """Send a request; answer `… help` from the host's help for the resource, if it has any."""
    if len(words) > 1 and words[-1] == "help":
        frame = ask(["help", words[0]], {})
        if not frame["ok"]:
            return frame
        if frame.get("data"):
            return {**frame, "data": matching_verbs(frame["data"], words[:-1])}
    return ask(list(words), options)


def _format_answer(words: Sequence[str], data: Any) -> str:
    if words[-1] != "help":
        return render(data, _terminal_width())
    return overview(data) if len(words) == 1 else explain(data)


def _list_completions(words: Sequence[str], ask: Ask) -> str:
    """Return a message listing the verbs that complete a partial command, or an empty string."""
    typed = " ".join(words)
    frame = ask(["help", words[0]], {}) if words else {"ok": False}
    names = verb_names(frame.get("data"))
    endings = [name.removeprefix(f"{typed} ") for name in names if name.startswith(f"{typed} ")]
    return f"{typed!r} needs a verb: {', '.join(endings)}. `ncl {typed} help` explains them." if endings else ""


def _terminal_width() -> int | None:
    return os.get_terminal_size(sys.stdout.fileno()).columns or None if sys.stdout.isatty() else None


def _code_and_message(frame: Frame) -> tuple[str, str]:
    error = frame.get("error")
    if not isinstance(error, dict):
        return "handler-error", "the host gave no reason"
    return str(error.get("code") or "handler-error"), str(error.get("message") or "the host gave no reason")


def _suggest_command(message: str, words: Sequence[str], local_commands: Iterable[str]) -> str:
    """Replace a message by the suggestion of a local command, unless the host suggested a verb of several words."""
    hint = did_you_mean(words[0], local_commands, show="`ncl {}`".format)
    if not hint or (len(words) > 1 and "did you mean" in message.lower()):
        return message
    return f"there is no command {' '.join(words)!r}. {hint}"
