"""The run fence: a plugin's long-running part is its own task; when it fails it is logged and called again later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nanoclaw_core import logs
from nanoclaw_core.errors import PLUGIN_ERRORS

log = logging.getLogger(__name__)
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
HEALTHY_S = 300.0  # who ran so long without failing starts again from the first pause


async def run_forever(
    plugin: str,
    what: str,
    run: Callable[[], Awaitable[None]],
    *,
    failed: Callable[[BaseException], None] = lambda _error: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run something until cancelled; after a failure, or an end, again after a pause that doubles from 1 s to 300 s."""
    pause_s = FIRST_PAUSE_S
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    with logs.context(plugin=plugin):
        while True:
            started = loop.time()
            try:
                await run()
                log.warning("part ended by itself", extra={"part": what})
            except PLUGIN_ERRORS as error:  # the run fence: whatever a plugin raises stops only this part
                log.exception("part failed", extra={"part": what, "again_in_s": pause_s})
                failed(error)
            if task is not None and task.cancelling():  # the part kept the wish to stop to itself
                return
            if loop.time() - started > HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            await sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
