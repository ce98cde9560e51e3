"""Verbs: asked of whoever listens, and shown. The host and the sandbox have this in common, to the last byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nanoclaw_client.arguments import parse_verb
from nanoclaw_client.connection import Frame
from nanoclaw_client.errors import UsageError
from nanoclaw_client.manual import explained, overview
from nanoclaw_client.nearest import nearest
from nanoclaw_client.rendering import render
from nanoclaw_client.telling import exit_code_of, print_json, tell

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
        is_unknown = code == "unknown-command"
        tell(code, _with_nearest(message, words, local_commands()) if is_unknown else message, as_json=False)
    return 0 if frame["ok"] else exit_code_of(_error(frame)[0])


def _ask(words: Sequence[str], options: Mapping[str, Any], ask: Ask) -> Frame:
    """Ask; `<noun> help` is the host's help about that noun, where there is any."""
    if len(words) > 1 and words[-1] == "help" and not options:
        frame = ask(["help", words[0]], {})
        if not frame["ok"] or frame.get("data"):
            return frame
    return ask(list(words), options)


def _shown(words: Sequence[str], data: Any) -> str:
    if words[-1] != "help":
        return render(data)
    return overview(data) if len(words) == 1 else explained(data)


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
