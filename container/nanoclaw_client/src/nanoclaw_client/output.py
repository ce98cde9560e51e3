"""Prints answers and errors: on which stream, in which form, and with which exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from nanoclaw_wire.answer_frames import error_frame

from nanoclaw_client.errors import ClientError
from nanoclaw_client.terminal_text import terminal_safe, visible_json

FAILED, USAGE = 1, 2
USAGE_CODES = frozenset({"unknown-command", "invalid-args", "transport-error"})


def print_text(text: str, *, to_stderr: bool = False) -> None:
    """Print text for people. It may come from a file, a plugin or a host, so control characters are escaped."""
    print(terminal_safe(text), file=sys.stderr if to_stderr else sys.stdout, flush=to_stderr)


def print_error(code: str, message: str, *, as_json: bool) -> None:
    """Print one error: as a frame on stdout, or as a sentence on stderr."""
    if as_json:
        print_json(error_frame(code, message))
    else:
        print_text(f"error ({code}): {message}", to_stderr=True)


def print_progress(text: str) -> None:
    """Print a progress line of a slow verb on stderr, so that stdout holds only the answer."""
    print_text(text, to_stderr=True)


def print_json(value: Any) -> None:
    """Print a value as indented JSON without terminal control characters."""
    print_text(visible_json(json.dumps(value, indent=2, ensure_ascii=False)))


def exit_code_of(code: str) -> int:
    """Map an error code to `ncl`'s exit status."""
    return USAGE if code in USAGE_CODES else FAILED


def describe(error: Exception) -> tuple[str, str, int]:
    """Return the frame code, the message and the exit code of an error.

    An error of an unknown type is reported as a defect.
    """
    if isinstance(error, ClientError):
        return error.code, str(error), exit_code_of(error.code)
    message = f"{type(error).__name__}: {error}. This is a defect. NANOCLAW_DEBUG=1 prints the traceback."
    return "handler-error", message, FAILED


def report(
    error: Exception,
    as_json: bool,
    environment: Mapping[str, str],
    describe: Callable[[Exception], tuple[str, str, int]] = describe,
) -> int:
    """Print an error and return the exit code.

    `describe` returns the frame code, the message and the exit code. It may know more types of errors.
    """
    if environment.get("NANOCLAW_DEBUG") == "1":
        import traceback

        print_text("".join(traceback.format_exception(error)), to_stderr=True)
    code, message, exit_code = describe(error)
    if exit_code in (FAILED, USAGE):  # other codes are deliberate exits and need no message
        print_error(code, message, as_json=as_json)
    return exit_code
