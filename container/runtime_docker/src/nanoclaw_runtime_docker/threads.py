"""Threads that wait for an engine and for which nobody has to wait.

Python joins the threads of its pools before a process ends, so with an engine that hangs, a host that stopped in order
would still be there a minute later. These are daemons: the process ends, and what they waited for is the next host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """Runs functions off the event loop, so many at once."""

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)

    async def run(self, function: Callable[[], T]) -> T:
        """Return what a function returns, or raise what it raises. Cancelling this does not stop the function."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def finish(settle: Callable[[Any], None], value: Any) -> None:
            self._free.release()
            if not done.done():
                settle(value)

        def work() -> None:
            try:
                settle: Callable[[Any], None] = done.set_result
                value: Any = function()
            except BaseException as error:  # whatever it is, whoever waits gets it
                settle, value = done.set_exception, error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, settle, value)

        threading.Thread(target=work, name="docker", daemon=True).start()
        return await done
