"""What a shell asks at every TAB: `ncl complete -- WORDS`, the last of which is being typed.

It answers a line each, `word<TAB>what it means`, or `:paths` where a path may stand. It never fails and says nothing
else: whatever it printed would be printed into somebody's command line. click is loaded only for commands of this
machine, which are its.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence

from nanoclaw_client.arguments import GLOBAL_OPTIONS, take_global_options
from nanoclaw_client.errors import TransportError, UsageError
from nanoclaw_client.terminal_text import terminal_safe

from nanoclaw_cli import client, commands
from nanoclaw_cli.completion.candidates import PATHS, Candidate, Verb, after, nouns
from nanoclaw_cli.invocation import Invocation, home_directory

ANSWER_S = 1.0


def run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print what may come next; always 0."""
    found: Iterable[Candidate] = ()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            found = candidates(words[1:], environment)
        except (Exception, SystemExit):  # the process fence: nothing is known, and nobody asked to hear why
            found = ()
    print("".join(f"{_plain(word)}\t{_plain(text)}".rstrip() + "\n" for word, text in found), end="")
    return 0


def candidates(words: Sequence[str], environment: Mapping[str, str]) -> list[Candidate]:
    """Return what may stand in the place of the last word, and begins like it."""
    *before, current = words or [""]
    try:
        choice = take_global_options(before)
    except UsageError:  # --home without its path, which is being typed
        return list(PATHS)
    if current.startswith("--home="):
        return list(PATHS)
    invocation = Invocation(home=home_directory(choice.home, environment), as_json=False, environment=environment)
    found = _next(choice.words, current, invocation)
    return [one for one in found if one in PATHS or one.word.startswith(current)]


def _next(words: Sequence[str], current: str, invocation: Invocation) -> list[Candidate]:
    if not words:
        return [*(Candidate(option) for option in GLOBAL_OPTIONS if current.startswith("-")), *_first(invocation)]
    if words[0] == "help":
        return _first(invocation) if len(words) == 1 else []
    command = commands.find(words[0])
    if command is not None:
        return _of_click(command, words[1:], current, invocation)
    return after(words, current, _verbs(invocation, words[0]))


def _first(invocation: Invocation) -> list[Candidate]:
    """Return the commands of this machine and the nouns of the host."""
    local = {command.name: Candidate(command.name, command.summary) for command in commands.known()}
    return [*local.values(), *(one for one in nouns(_verbs(invocation)) if one.word not in local)]


def _verbs(invocation: Invocation, *noun: str) -> list[Verb]:
    """Return what the running host says of its verbs, or nothing."""
    try:
        frame = client.ask(invocation.home, ["help", *noun], {}, invocation.environment, timeout_s=ANSWER_S)
    except TransportError:
        return []
    told = frame.get("data") if frame["ok"] else None
    return [verb for verb in told if isinstance(verb, dict)] if isinstance(told, list) else []


def _of_click(command: commands.Command, words: Sequence[str], current: str, invocation: Invocation) -> list[Candidate]:
    from click.shell_completion import ShellComplete

    completer = ShellComplete(commands.load(command), {"obj": invocation}, f"ncl {command.name}", "")
    items = completer.get_completions(list(words), current)
    plain = [Candidate(str(item.value), item.help or "") for item in items if item.type == "plain"]
    return plain if len(plain) == len(items) else [*plain, *PATHS]


def _plain(text: str) -> str:
    return " ".join(terminal_safe(text).split())
