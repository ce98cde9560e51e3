"""Background tasks that end with their owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


class TaskSet:
    """The running background tasks of one owner. A set of tasks also keeps them from garbage collection."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], *, context: Context | None = None) -> asyncio.Task[T]:
        """Start a task.

        An exception of `work` ends only its task. The set does not read it: the caller awaits the task, or asyncio logs
        the exception when the task is deleted.
        """
        task = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self, timeout_s: float) -> Collection[asyncio.Task[Any]]:
        """Wait for the end of all tasks, and return those that still run after the timeout."""
        return (await asyncio.wait(self._tasks, timeout=timeout_s))[1] if self._tasks else ()

    async def close(self, timeout_s: float) -> None:
        """Cancel all tasks and wait for their end; log each task that still runs after the timeout."""
        for task in self._tasks:
            task.cancel()
        for task in await self.wait(timeout_s):
            log.warning("cancelled task does not end", extra={"task": repr(task.get_coro()), "timeout_s": timeout_s})
