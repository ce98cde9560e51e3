"""The entry point of `ncl`.

Fast paths need few imports; all other code is imported on demand.

People type `ncl --version` and verbs, and scripts call them in loops. So this module imports neither click nor attrs
nor asyncio; `tests/contract/test_imports.py` checks that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from nanoclaw_client.arguments import GlobalOptions, require_command_first
from nanoclaw_client.process import run_process

from nanoclaw_core import __version__


def main(words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one `ncl` command and return its exit code.

    0: done. 1: refused or failed. 2: usage or transport error.

    Errors print a traceback only if NANOCLAW_DEBUG=1.
    """
    arguments = sys.argv[1:] if words is None else words
    variables = os.environ if environment is None else environment
    return run_process(
        arguments, lambda options: _run(options, variables), lambda error, as_json: _report(error, as_json, variables)
    )


def _report(error: Exception, as_json: bool, environment: Mapping[str, str]) -> int:
    from nanoclaw_cli import failures

    return failures.report(error, as_json, environment)


def _run(options: GlobalOptions, environment: Mapping[str, str]) -> int:
    if options.version:
        print(f"nanoclaw {__version__}")
        return 0
    if options.words[:1] == ["complete"]:
        from nanoclaw_cli.completion import complete

        return complete.print_candidates(options.words[1:], environment)
    from nanoclaw_cli import commands
    from nanoclaw_cli.invocation import Invocation, home_directory

    words = options.words
    if not words or words[0] in ("--help", "-h"):
        words = ["help"]
    require_command_first(words)
    home = home_directory(options.home, environment)
    invocation = Invocation(home=home, as_json=options.as_json, environment=environment)
    command = commands.find(words[0])
    if command is not None:
        return commands.run(command, words[1:], invocation)
    from nanoclaw_cli import verbs

    return verbs.run(words, invocation)


if __name__ == "__main__":
    sys.exit(main())
