"""Daemon threads for calls to the engine.

Python joins the threads of its pools before a process ends. With a hanging engine, a stopped host would exit only after
the calls time out, a minute later. Daemon threads do not delay the exit; the next host reaps their containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from nanoclaw_core import SandboxFailed

T = TypeVar("T")


class DaemonExecutor:
    """Runs functions off the event loop.

    Args:
        limit: The maximum number of callers that wait for a result at the same time. More callers queue.
        max_threads: The maximum number of threads, with those of cancelled callers. More callers are refused.
    """

    def __init__(self, limit: int, max_threads: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._threads, self._max_threads = 0, max_threads

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread; return its result or raise its error. Cancelling does not stop the function.

        Raises:
            SandboxFailed: `max_threads` functions have not returned yet.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def finish(complete: Callable[[Any], None], value: Any) -> None:
            self._threads -= 1
            if not done.done():
                complete(value)

        def work() -> None:
            try:
                complete: Callable[[Any], None] = done.set_result
                value: Any = function()
            except BaseException as error:  # the caller gets every error
                complete, value = done.set_exception, error
            with contextlib.suppress(RuntimeError):  # the loop is closed, so no caller waits any more
                loop.call_soon_threadsafe(finish, complete, value)

        try:
            if self._threads >= self._max_threads:
                raise SandboxFailed(f"{self._threads} calls to the engine hang. Check it, or restart it.")
            threading.Thread(target=work, name="docker", daemon=True).start()
            self._threads += 1
            return await done
        finally:
            self._free.release()  # now and not when the thread ends: abandoned calls must not delay later ones
