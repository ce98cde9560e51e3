"""Context values for log lines, such as the correlation id of a message.

The core never configures logging: an application that embeds a host has its own configuration, and so has `ncl`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

_context: ContextVar[Mapping[str, str]] = ContextVar("nanoclaw_log_context", default={})  # noqa: B039  # never mutated


@contextlib.contextmanager
def context(**values: str) -> Iterator[None]:
    """Add values (`correlation`, `session`, `plugin`) to every line that is logged in a `with` block.

    An empty value removes the value of an outer block.
    """
    token = _context.set({name: value for name, value in {**_context.get(), **values}.items() if value})
    try:
        yield
    finally:
        _context.reset(token)


def log_values() -> Mapping[str, str]:
    """Return the current context values, for formatters."""
    return _context.get()
