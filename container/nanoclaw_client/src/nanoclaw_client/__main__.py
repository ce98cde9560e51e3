"""`ncl` in a sandbox: every command is a verb. The runner forwards it to the host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE

from nanoclaw_client.arguments import GlobalOptions, require_command_first
from nanoclaw_client.connection import Endpoint, Frame, ask
from nanoclaw_client.errors import TransportError, UsageError
from nanoclaw_client.output import print_progress, report
from nanoclaw_client.process import run_process
from nanoclaw_client.verbs import run_verb

USAGE = "Usage: ncl [--json] RESOURCE VERB … (ncl help RESOURCE explains its verbs)\n"
ADVICE = "It may be stopping. Check whether the request was carried out before you repeat it."


def main(words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 refused or failed, 2 usage or transport error."""
    arguments = sys.argv[1:] if words is None else words
    variables = os.environ if environment is None else environment
    return run_process(
        arguments, lambda options: _run(options, variables), lambda error, as_json: report(error, as_json, variables)
    )


def _run(options: GlobalOptions, environment: Mapping[str, str]) -> int:
    if options.version:
        return _show_version()
    if options.home is not None:
        raise UsageError(
            f"--home: not available in a sandbox, got {options.home}. Leave it out: there is only one host."
        )
    require_command_first(options.words)
    words = _put_help_last(options.words)
    if words == ["help"] and not options.as_json:
        print(USAGE)
    return run_verb(words, ask=partial(_ask, environment), as_json=options.as_json)


def _put_help_last(words: Sequence[str]) -> list[str]:
    """Rewrite `help RESOURCE` as `RESOURCE help`, and an empty command line as `help`."""
    if not words or words[0] in ("help", "-h", "--help"):
        return [*words[1:], "help"]
    return list(words)


def _ask(environment: Mapping[str, str], words: Sequence[str], options: Mapping[str, Any]) -> Frame:
    path = environment.get(NCL_SOCKET_VARIABLE)
    if not path:
        raise TransportError(
            f"{NCL_SOCKET_VARIABLE}: not set. Run `ncl` from a process that the agent started in its sandbox."
        )
    endpoint = Endpoint(path, "the runner of this sandbox", ADVICE)
    return ask(endpoint, words, options, on_progress=print_progress)


def _show_version() -> int:
    from importlib.metadata import version  # slow, so only for `--version`

    print(f"nanoclaw {version('nanoclaw-client')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
