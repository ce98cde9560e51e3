"""The way into `ncl`: what must be fast is done here with next to no imports, the rest is imported when asked for.

`ncl --version` and a verb to a running host are typed by people and called from scripts in loops, so this module loads
neither click nor attrs nor asyncio; `tests/contract/test_imports.py` keeps it so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from nanoclaw_cli import arguments
from nanoclaw_core import __version__

INTERRUPTED = 130  # 128 + SIGINT, what a shell says of a program that ctrl-c ended
PIPE_CLOSED = 141  # 128 + SIGPIPE: `ncl logs | head` is nobody's error


def main(words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one `ncl` command and return its exit code: 0 done, 1 refused or failed, 2 usage or transport.

    Nothing leaves as a traceback unless NANOCLAW_DEBUG=1 asks for one.
    """
    words = sys.argv[1:] if words is None else words
    environment = os.environ if environment is None else environment
    as_json = False
    try:
        choice = arguments.take_global_options(words)
        as_json = choice.as_json
        code = _run(choice, environment)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it exits
        return PIPE_CLOSED
    except Exception as error:  # the process fence: a person gets one message with cause and remedy
        from nanoclaw_cli import failures

        return failures.report(error, as_json=as_json, environment=environment)
    return code


def _run(choice: arguments.Choice, environment: Mapping[str, str]) -> int:
    if choice.version:
        print(f"nanoclaw {__version__}")
        return 0
    from nanoclaw_cli import commands
    from nanoclaw_cli.invocation import Invocation, home_directory

    words = choice.words
    if not words or words[0] in ("--help", "-h"):
        words = ["help"]
    arguments.refuse_option_before_command(words)
    home = home_directory(choice.home, environment)
    invocation = Invocation(home=home, as_json=choice.as_json, environment=environment)
    command = commands.find(words[0])
    if command is not None:
        return commands.run(command, words[1:], invocation)
    from nanoclaw_cli import verbs

    return verbs.run(words, invocation)


if __name__ == "__main__":
    sys.exit(main())
