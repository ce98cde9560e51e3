"""One `ncl` process from its words to its exit code. It loads next to nothing: `ncl --version` passes through here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from nanoclaw_client.arguments import GlobalOptions, take_global_options

INTERRUPTED = 130  # 128 + SIGINT, what a shell says of a program that ctrl-c ended
PIPE_CLOSED = 141  # 128 + SIGPIPE: `ncl logs | head` is nobody's error


def run_process(
    arguments: Sequence[str], run: Callable[[GlobalOptions], int], report: Callable[[Exception, bool], int]
) -> int:
    """Run one command and return its exit code, whatever happens.

    Args:
        run: Gets the options that every command has, and the words that are left.
        report: Tells about an error, as JSON or not, and returns the exit code for it.
    """
    as_json = False
    try:
        choice = take_global_options(arguments)
        as_json = choice.as_json
        code = run(choice)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it exits
        return PIPE_CLOSED
    except Exception as error:  # the process fence: a person gets one message with cause and remedy
        return report(error, as_json)
    return code
