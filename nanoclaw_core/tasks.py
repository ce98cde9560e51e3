"""The error boundary of running parts: a failed one is logged and restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nanoclaw_untrusted.foreign_code import keep_running

from nanoclaw_core import logs


async def run_forever(
    plugin: str,
    what: str,
    run: Callable[[], Awaitable[None]],
    *,
    failed: Callable[[BaseException], None] = lambda _error: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a part of a plugin until cancelled; restart it after pauses that double from 1 s to 300 s."""
    with logs.context(plugin=plugin):
        await keep_running(what, run, failed=failed, sleep=sleep)
