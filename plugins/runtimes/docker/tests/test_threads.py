"""The threads for calls to the engine."""

from __future__ import annotations

import asyncio
import threading

import pytest
from nanoclaw_runtime_docker.threads import DaemonExecutor


def test_cancelled_call_frees_its_slot_at_once() -> None:
    """A recovered engine must not wait for the time limits of calls that their callers gave up."""
    answered = threading.Event()

    async def scenario() -> str:
        executor = DaemonExecutor(1)
        begun = threading.Event()
        hanging = asyncio.create_task(executor.run(lambda: (begun.set(), answered.wait())))
        await asyncio.to_thread(begun.wait)
        hanging.cancel()
        await asyncio.wait([hanging])
        async with asyncio.timeout(30):
            return await executor.run(lambda: "next")

    try:
        assert asyncio.run(scenario()) == "next"
    finally:
        answered.set()


def test_cancelled_wait_for_a_slot_takes_none() -> None:
    async def scenario() -> str:
        executor = DaemonExecutor(1)
        answered = threading.Event()
        first = asyncio.create_task(executor.run(answered.wait))
        second = asyncio.create_task(executor.run(lambda: None))
        await asyncio.sleep(0)  # the second one waits for the slot
        second.cancel()
        answered.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        async with asyncio.timeout(30):
            return await executor.run(lambda: "next")

    assert asyncio.run(scenario()) == "next"
