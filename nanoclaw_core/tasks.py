"""The error boundary of running parts: a failed one is logged and restarted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nanoclaw_core import logs
from nanoclaw_core.errors import PLUGIN_ERRORS

log = logging.getLogger(__name__)
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
HEALTHY_S = 300.0  # a part that ran this long restarts after the first pause


async def run_forever(
    plugin: str,
    what: str,
    run: Callable[[], Awaitable[None]],
    *,
    failed: Callable[[BaseException], None] = lambda _error: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a part until cancelled; restart it after pauses that double from 1 s to 300 s."""
    pause_s = FIRST_PAUSE_S
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    with logs.context(plugin=plugin):
        while True:
            started = loop.time()
            try:
                await run()
                log.warning("part ended by itself", extra={"part": what})
            except PLUGIN_ERRORS as error:  # error boundary: an error of a plugin stops only this part
                log.exception("part failed", extra={"part": what, "again_in_s": pause_s})
                failed(error)
            if task is not None and task.cancelling():  # the part swallowed the cancellation
                return
            if loop.time() - started > HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            await sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
