"""Verbs: asked of whoever listens, and shown. The host and the sandbox have this in common, to the last byte."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nanoclaw_client.arguments import parse_verb
from nanoclaw_client.connection import Frame
from nanoclaw_client.errors import UsageError
from nanoclaw_client.help_text import about, explained, names, overview
from nanoclaw_client.output import exit_code_of, print_error, print_json
from nanoclaw_client.rendering import render
from nanoclaw_client.suggestions import nearest

Ask = Callable[[Sequence[str], Mapping[str, Any]], Frame]


def run_verb(
    arguments: Sequence[str], *, ask: Ask, as_json: bool, local_commands: Callable[[], Iterable[str]] = tuple
) -> int:
    """Ask for a verb and show its answer; return the exit code.

    Args:
        ask: Sends words and options, and returns the answer frame.
        local_commands: What `ncl` can do without asking, for whoever mistyped one of those.

    Raises:
        UsageError: The command line makes no sense, or names no command.
        TransportError: Nobody could be asked.
    """
    words, options = parse_verb(arguments)
    if not words:
        raise UsageError(f"{arguments[0]} is no command; `ncl help` lists what there is")
    frame = _ask(words, options, ask)
    if as_json:
        print_json(frame)
    elif frame["ok"]:
        print(_shown(words, frame.get("data")))
    else:
        code, message = _error(frame)
        if code == "unknown-command":
            message = _verbs_of(words, ask) or _with_nearest(message, words, local_commands())
        print_error(code, message, as_json=False)
    return 0 if frame["ok"] else exit_code_of(_error(frame)[0])


def _ask(words: Sequence[str], options: Mapping[str, Any], ask: Ask) -> Frame:
    """Ask; `… help` is what the host's help about that noun says of the words before it, where it says anything."""
    if len(words) > 1 and words[-1] == "help":
        frame = ask(["help", words[0]], {})
        if not frame["ok"]:
            return frame
        if frame.get("data"):
            return {**frame, "data": about(frame["data"], words[:-1])}
    return ask(list(words), options)


def _shown(words: Sequence[str], data: Any) -> str:
    if words[-1] != "help":
        return render(data, _terminal_width())
    return overview(data) if len(words) == 1 else explained(data)


def _verbs_of(words: Sequence[str], ask: Ask) -> str:
    """Say which verbs there are, where what was typed is only the beginning of some; empty where it is not."""
    typed = " ".join(words)
    frame = ask(["help", words[0]], {}) if words else {"ok": False}
    longer = [one.removeprefix(f"{typed} ") for one in names(frame.get("data")) if one.startswith(f"{typed} ")]
    return f"{typed!r} needs a verb: {', '.join(longer)}; `ncl {typed} help` explains them" if longer else ""


def _terminal_width() -> int | None:
    return os.get_terminal_size(sys.stdout.fileno()).columns or None if sys.stdout.isatty() else None


def _error(frame: Frame) -> tuple[str, str]:
    error = frame.get("error")
    if not isinstance(error, dict):
        return "handler-error", "the host gave no reason"
    return str(error.get("code") or "handler-error"), str(error.get("message") or "the host gave no reason")


def _with_nearest(message: str, words: Sequence[str], local_commands: Iterable[str]) -> str:
    """Suggest a local command in place of the host's verbs, unless the host knows better what several words meant."""
    near = nearest(words[0], local_commands)
    if not near or (len(words) > 1 and "did you mean" in message):
        return message
    return f"there is no command {' '.join(words)!r}; did you mean `ncl {near}`?"
