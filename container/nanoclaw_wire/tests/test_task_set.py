"""Background tasks that end with their owner."""

import asyncio
import contextlib
import contextvars

import pytest
from nanoclaw_wire.task_set import TaskSet


def test_close_cancels_all_tasks() -> None:
    async def scenario() -> None:
        tasks = TaskSet()
        spawned = [tasks.spawn(asyncio.sleep(3_600)) for _ in range(3)]
        await tasks.close(10)
        assert all(task.cancelled() for task in spawned)

    asyncio.run(scenario())


def test_close_leaves_and_logs_a_task_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def swallow() -> None:
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()

        tasks = TaskSet()
        stubborn = tasks.spawn(swallow())
        await asyncio.sleep(0)  # a task that is cancelled before its first step swallows nothing
        try:
            async with asyncio.timeout(10):
                await tasks.close(0.01)
            assert not stubborn.done()
        finally:
            release.set()
        await stubborn

    asyncio.run(scenario())
    (record,) = caplog.records
    assert record.message == "cancelled task does not end"
    assert "swallow" in vars(record)["task"]


def test_wait_returns_the_tasks_that_still_run() -> None:
    async def scenario() -> None:
        tasks = TaskSet()
        quick, slow = tasks.spawn(asyncio.sleep(0)), tasks.spawn(asyncio.sleep(3_600))
        assert set(await tasks.wait(0.01)) == {slow}
        assert quick.done()
        await tasks.close(10)
        assert await tasks.wait(10) == ()

    asyncio.run(scenario())


def test_context_of_a_task_can_be_set() -> None:
    """A task with its own context does not inherit the log values of its caller."""
    value: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="none")

    async def scenario() -> tuple[str, str]:
        async def read() -> str:
            return value.get()

        tasks = TaskSet()
        value.set("caller")
        return await tasks.spawn(read()), await tasks.spawn(read(), context=contextvars.Context())

    assert asyncio.run(scenario()) == ("caller", "none")
