"""`ncl complete -- WORDS`: shells call it at every TAB, while the user types the last word.

It prints one line per candidate, `word<TAB>description`, or `:paths` if a path may follow. It never fails and prints
nothing else, because all output would appear in the user's command line. It imports click only to complete local
commands.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence

from nanoclaw_client.arguments import GLOBAL_OPTIONS, parse_global_options
from nanoclaw_client.errors import TransportError, UsageError
from nanoclaw_client.terminal_text import terminal_safe

from nanoclaw_cli import client, commands
from nanoclaw_cli.completion.candidates import PATHS, Completion, Verb, first_words, next_words
from nanoclaw_cli.invocation import Invocation, home_directory

ANSWER_S = 1.0


def print_candidates(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print the candidates for the last word. Always return 0."""
    results: Iterable[Completion] = ()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            results = complete_words(words[1:], environment)
        except (Exception, SystemExit):  # the process's error boundary: an error message would spoil the command line
            results = ()
    print("".join(f"{_one_line(word)}\t{_one_line(text)}".rstrip() + "\n" for word, text in results), end="")
    return 0


def complete_words(words: Sequence[str], environment: Mapping[str, str]) -> list[Completion]:
    """Return the candidates for the last word that begin with its typed text."""
    *before, current = words or [""]
    try:
        options = parse_global_options(before)
    except UsageError:  # the user types the path of --home
        return list(PATHS)
    if current.startswith("--home="):
        return list(PATHS)
    invocation = Invocation(home=home_directory(options.home, environment), as_json=False, environment=environment)
    results = _candidates(options.words, current, invocation)
    return [candidate for candidate in results if candidate in PATHS or candidate.word.startswith(current)]


def _candidates(words: Sequence[str], current: str, invocation: Invocation) -> list[Completion]:
    if not words:
        return [
            *(Completion(option) for option in GLOBAL_OPTIONS if current.startswith("-")),
            *_first_words(invocation),
        ]
    if words[0] == "help":
        return _first_words(invocation) if len(words) == 1 else []
    command = commands.find(words[0])
    if command is not None:
        return _complete_click(command, words[1:], current, invocation)
    return next_words(words, current, _host_verbs(invocation, words[0]))


def _first_words(invocation: Invocation) -> list[Completion]:
    """Return the local commands and the first words of the host's verbs."""
    local = {command.name: Completion(command.name, command.summary) for command in commands.known()}
    return [*local.values(), *(item for item in first_words(_host_verbs(invocation)) if item.word not in local)]


def _host_verbs(invocation: Invocation, *resource: str) -> list[Verb]:
    """Return the running host's descriptions of all verbs or of a resource's.

    Empty without a host.
    """
    try:
        frame = client.ask(invocation.home, ["help", *resource], {}, invocation.environment, timeout_s=ANSWER_S)
    except TransportError:
        return []
    data = frame.get("data") if frame["ok"] else None
    return [verb for verb in data if isinstance(verb, dict)] if isinstance(data, list) else []


def _complete_click(
    command: commands.LocalCommand, words: Sequence[str], current: str, invocation: Invocation
) -> list[Completion]:
    from click.shell_completion import ShellComplete

    completer = ShellComplete(commands.load(command), {"obj": invocation}, f"ncl {command.name}", "")
    items = completer.get_completions(list(words), current)
    plain = [Completion(str(item.value), item.help or "") for item in items if item.type == "plain"]
    return plain if len(plain) == len(items) else [*plain, *PATHS]


def _one_line(text: str) -> str:
    return " ".join(terminal_safe(text).split())
