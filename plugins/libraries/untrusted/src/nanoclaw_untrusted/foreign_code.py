"""Calls code of others, which may raise anything, hang or end by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from attrs import frozen

log = logging.getLogger(__name__)
T = TypeVar("T")
FOREIGN_ERRORS = (Exception, SystemExit)
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
HEALTHY_S = 300.0  # a part that ran this long restarts after the first pause


@frozen
class Checked(Generic[T]):
    """The result of a check, and the error that ended it. One of them is None. Plugins and a runtime may have both."""

    value: T | None = None
    error: BaseException | None = None


def checked(check: Callable[..., T], *arguments: Any) -> Checked[T]:
    """Call a function and return its result or its error; never raise."""
    try:
        return Checked(check(*arguments))
    except (*FOREIGN_ERRORS, asyncio.CancelledError) as error:  # an error boundary; it awaits nothing
        return Checked(error=error.with_traceback(None))  # its frames hold connections


async def checked_within(timeout_s: float, check: Callable[..., T], *arguments: Any) -> Checked[T]:
    """Call a function in a thread that neither the caller nor the exit of the process waits for."""
    done = Future[Checked[T]]()
    done.set_running_or_notify_cancel()  # a late thread can then set its result
    threading.Thread(target=lambda: done.set_result(checked(check, *arguments)), daemon=True).start()
    with contextlib.suppress(TimeoutError):
        answer = await asyncio.wait_for(asyncio.wrap_future(done), 2 * timeout_s)  # the second half is for its `close`
        if not isinstance(answer.error, TimeoutError):
            return answer
    return Checked(error=TimeoutError(f"did not answer within {timeout_s:g} s"))


async def keep_running(
    what: str,
    run: Callable[[], Awaitable[None]],
    *,
    failed: Callable[[BaseException], None],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Run a part until cancelled; restart it after pauses that double from 1 s to 300 s."""
    pause_s = FIRST_PAUSE_S
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    while True:
        started = loop.time()
        try:
            await run()
            log.warning("part ended by itself", extra={"part": what})
        except FOREIGN_ERRORS as error:  # error boundary: an error stops only this part
            log.exception("part failed", extra={"part": what, "again_in_s": pause_s})
            failed(error)
        if task is not None and task.cancelling():  # the part swallowed the cancellation
            return
        if loop.time() - started > HEALTHY_S:
            pause_s = FIRST_PAUSE_S
        await sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
