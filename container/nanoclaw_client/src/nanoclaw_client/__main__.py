"""`ncl` in a sandbox: every command is a verb, asked of the runner, which asks the host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE

from nanoclaw_client.arguments import GlobalOptions, refuse_option_before_command
from nanoclaw_client.connection import Endpoint, Frame, ask
from nanoclaw_client.errors import TransportError, UsageError
from nanoclaw_client.output import print_progress, report
from nanoclaw_client.process import run_process
from nanoclaw_client.verbs import run_verb

USAGE = "Usage: ncl [--json] NOUN VERB … (ncl help NOUN says more)\n"
ADVICE = "it may be ending; look whether this was done before you ask again"


def main(words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 refused or failed, 2 usage or transport."""
    arguments = sys.argv[1:] if words is None else words
    variables = os.environ if environment is None else environment
    return run_process(
        arguments, lambda choice: _run(choice, variables), lambda error, as_json: report(error, as_json, variables)
    )


def _run(choice: GlobalOptions, environment: Mapping[str, str]) -> int:
    if choice.version:
        return _show_version()
    if choice.home is not None:
        raise UsageError("--home is of no use in a sandbox: there is one host to ask; leave it out")
    refuse_option_before_command(choice.words)
    words = _in_order(choice.words)
    if words == ["help"] and not choice.as_json:
        print(USAGE)
    return run_verb(words, ask=partial(_ask, environment), as_json=choice.as_json)


def _in_order(words: Sequence[str]) -> list[str]:
    """Return `help NOUN` as `NOUN help`, and nothing as `help`."""
    if not words or words[0] in ("help", "-h", "--help"):
        return [*words[1:], "help"]
    return list(words)


def _ask(environment: Mapping[str, str], words: Sequence[str], options: Mapping[str, Any]) -> Frame:
    path = environment.get(NCL_SOCKET_VARIABLE)
    if not path:
        raise TransportError(f"{NCL_SOCKET_VARIABLE} is not set; only what an agent starts in its sandbox can ask")
    endpoint = Endpoint(path, "the runner of this sandbox", ADVICE)
    return ask(endpoint, words, options, on_progress=print_progress)


def _show_version() -> int:
    from importlib.metadata import version  # slow, so only for whoever asks

    print(f"nanoclaw {version('nanoclaw-client')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
