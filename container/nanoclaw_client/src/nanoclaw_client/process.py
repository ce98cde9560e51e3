"""Runs one `ncl` process. It imports next to nothing, because `ncl --version` passes through it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from nanoclaw_client.arguments import GlobalOptions, parse_global_options

INTERRUPTED = 130  # 128 + SIGINT, the status that shells report after ctrl-c
PIPE_CLOSED = 141  # 128 + SIGPIPE: `ncl logs | head` is not an error


def run_process(
    arguments: Sequence[str], run: Callable[[GlobalOptions], int], report: Callable[[Exception, bool], int]
) -> int:
    """Run one command and return its exit code. Never raises an `Exception`.

    Args:
        arguments: The command line after `ncl`.
        run: Gets the global options and the remaining words.
        report: Prints an error, as JSON or as text, and returns the exit code for it.
    """
    as_json = False
    try:
        options = parse_global_options(arguments)
        as_json = options.as_json
        code = run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it again at exit
        return PIPE_CLOSED
    except Exception as error:  # the process's error boundary: the user gets one message with cause and remedy
        return report(error, as_json)
    return code
