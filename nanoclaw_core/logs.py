"""Values that belong to every log line of a piece of work: a correlation id from arrival to delivery, a session.

The core never configures logging: an application that embeds a host keeps its own, and `ncl` brings one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

_context: ContextVar[Mapping[str, str]] = ContextVar("nanoclaw_log_context", default={})  # noqa: B039  # never mutated


@contextlib.contextmanager
def context(**values: str) -> Iterator[None]:
    """Put values (`correlation`, `session`, `plugin`) on every line that is logged inside."""
    token = _context.set({**_context.get(), **values})
    try:
        yield
    finally:
        _context.reset(token)


def log_values() -> Mapping[str, str]:
    """Return the values that belong to a line that is logged here and now; for formatters."""
    return _context.get()
