"""Turns each error into one message with cause and remedy.

The error boundary in `main` uses it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nanoclaw_client import output
from nanoclaw_client.output import FAILED, USAGE, exit_code_of

from nanoclaw_core import NanoclawError

if TYPE_CHECKING:
    import click

MAKE_SPACE = "Free some space on that disk, and try again."
NOT_OURS = "Does it belong to another user? Fix its permissions, or choose another directory with --home."
IN_THE_WAY = "Another file has its place. Move that file away."
REMEDIES = {
    errno.ENOSPC: MAKE_SPACE,
    errno.EDQUOT: MAKE_SPACE,
    errno.EACCES: NOT_OURS,
    errno.EPERM: NOT_OURS,
    errno.EROFS: "Choose a writable directory with --home.",
    errno.EISDIR: IN_THE_WAY,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.EMFILE: "Too many files are open. Raise the limit (`ulimit -n`).",
}


def report(error: Exception, as_json: bool, environment: Mapping[str, str]) -> int:
    """Print an error on stderr, or as a frame on stdout, and return the exit code."""
    return output.report(error, as_json, environment, describe)


def describe(error: Exception) -> tuple[str, str, int]:
    """Return the frame code, the message and the exit code of an error."""
    if isinstance(error, NanoclawError):
        return error.code, str(error), exit_code_of(error.code)
    if "click" in sys.modules:
        described = _describe_click(error)
        if described is not None:
            return described
    if isinstance(error, OSError):
        where = f": {os.fsdecode(error.filename)}" if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "Check that it exists and that you may use it.")
        return "handler-error", f"{error.strerror or error}{where}. {remedy}", FAILED
    if type(error).__module__ == "apsw":  # by name, because most commands never import apsw
        remedy = (
            MAKE_SPACE if type(error).__name__ == "FullError" else "Check whether its file is damaged or its disk full."
        )
        return "handler-error", f"the central database cannot be used: {error}. {remedy}", FAILED
    return output.describe(error)


def _describe_click(error: Exception) -> tuple[str, str, int] | None:
    import click

    if isinstance(error, click.UsageError):
        program = error.ctx.command_path if error.ctx else "ncl"
        return "invalid-args", f"{_usage_message(error)} See `{program} --help`.", USAGE
    if isinstance(error, click.ClickException):
        return "handler-error", error.format_message(), FAILED
    if isinstance(error, click.exceptions.Exit):
        return "", "", error.exit_code
    if isinstance(error, click.Abort):
        return "", "", 130
    return None


def _usage_message(error: click.UsageError) -> str:
    import click

    no_args_error = getattr(click.exceptions, "NoArgsIsHelpError", ())  # click before 8.2 does not have it
    if error.ctx is None or not isinstance(error, no_args_error):
        return error.format_message()  # of a `no_args_error` this is the whole help text
    command = error.ctx.command
    if not isinstance(command, click.Group):
        return "It needs arguments."
    return f"It needs a subcommand: {', '.join(command.list_commands(error.ctx))}."
