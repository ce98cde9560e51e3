"""The way into `ncl`: what must be fast is done here with next to no imports, the rest is imported when asked for.

`ncl --version` and a verb to a running host are typed by people and called from scripts in loops, so this module loads
neither click nor attrs nor asyncio; `tests/contract/test_imports.py` keeps it so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from nanoclaw_client.arguments import GlobalOptions, refuse_option_before_command
from nanoclaw_client.process import run_process

from nanoclaw_core import __version__


def main(words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one `ncl` command and return its exit code: 0 done, 1 refused or failed, 2 usage or transport.

    Nothing leaves as a traceback unless NANOCLAW_DEBUG=1 asks for one.
    """
    arguments = sys.argv[1:] if words is None else words
    variables = os.environ if environment is None else environment
    return run_process(
        arguments, lambda choice: _run(choice, variables), lambda error, as_json: _report(error, as_json, variables)
    )


def _report(error: Exception, as_json: bool, environment: Mapping[str, str]) -> int:
    from nanoclaw_cli import failures

    return failures.report(error, as_json, environment)


def _run(choice: GlobalOptions, environment: Mapping[str, str]) -> int:
    if choice.version:
        print(f"nanoclaw {__version__}")
        return 0
    if choice.words[:1] == ["complete"]:
        from nanoclaw_cli.completion import complete

        return complete.run(choice.words[1:], environment)
    from nanoclaw_cli import commands
    from nanoclaw_cli.invocation import Invocation, home_directory

    words = choice.words
    if not words or words[0] in ("--help", "-h"):
        words = ["help"]
    refuse_option_before_command(words)
    home = home_directory(choice.home, environment)
    invocation = Invocation(home=home, as_json=choice.as_json, environment=environment)
    command = commands.find(words[0])
    if command is not None:
        return commands.run(command, words[1:], invocation)
    from nanoclaw_cli import verbs

    return verbs.run(words, invocation)


if __name__ == "__main__":
    sys.exit(main())
