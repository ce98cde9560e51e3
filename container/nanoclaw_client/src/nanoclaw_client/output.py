"""How an answer and an error reach whoever typed: on which stream, in which form, and with which exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from nanoclaw_client.errors import ClientError
from nanoclaw_client.terminal_text import terminal_safe

FAILED, USAGE = 1, 2
USAGE_CODES = frozenset({"unknown-command", "invalid-args", "transport-error"})


def print_error(code: str, message: str, *, as_json: bool) -> None:
    """Print one error: a frame on stdout, or a sentence on stderr."""
    if as_json:
        print_json({"id": "cli", "ok": False, "error": {"code": code, "message": message}})
    else:
        print(terminal_safe(f"error ({code}): {message}"), file=sys.stderr)


def print_progress(text: str) -> None:
    """Print what a verb that takes long says meanwhile; on stderr, so that the answer stays one value."""
    print(terminal_safe(text), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a JSON value as machines and people can read it."""
    print(terminal_safe(json.dumps(value, indent=2, ensure_ascii=False)))


def exit_code_of(code: str) -> int:
    """Return how `ncl` ends with an error: whether what was asked cannot be done, or was asked wrongly or of nobody."""
    return USAGE if code in USAGE_CODES else FAILED


def describe(error: Exception) -> tuple[str, str, int]:
    """Return the frame code, the message and the exit code of an error; what is not known here is a defect."""
    if isinstance(error, ClientError):
        return error.code, str(error), exit_code_of(error.code)
    message = f"{type(error).__name__}: {error}. This is a defect; NANOCLAW_DEBUG=1 shows where it happened."
    return "handler-error", message, FAILED


def report(
    error: Exception,
    as_json: bool,
    environment: Mapping[str, str],
    describe: Callable[[Exception], tuple[str, str, int]] = describe,
) -> int:
    """Tell about an error, and return the exit code.

    Args:
        describe: Knows more errors than those of a client.
    """
    if environment.get("NANOCLAW_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    code, message, exit_code = describe(error)
    if exit_code in (FAILED, USAGE):  # any other says that there is nothing to tell
        print_error(code, message, as_json=as_json)
    return exit_code
