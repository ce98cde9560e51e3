"""The threads for calls to the engine."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from nanoclaw_runtime_docker.threads import DaemonExecutor

from nanoclaw_core import SandboxFailed


def test_cancelled_call_frees_its_slot_at_once() -> None:
    """A recovered engine must not wait for the time limits of calls that their callers gave up."""
    answered = threading.Event()

    async def scenario() -> str:
        executor = DaemonExecutor(1, max_threads=9)
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
        executor = DaemonExecutor(1, max_threads=9)
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


def test_threads_of_abandoned_calls_are_limited() -> None:
    """A hanging engine must not make the host start a thread for each call that its caller gave up."""
    answered = threading.Event()

    async def scenario() -> str:
        executor = DaemonExecutor(1, max_threads=2)
        for _ in range(2):
            begun = threading.Event()
            hanging = asyncio.create_task(executor.run(lambda begun=begun: (begun.set(), answered.wait())))
            await asyncio.to_thread(begun.wait)
            hanging.cancel()
            await asyncio.wait([hanging])
        with pytest.raises(SandboxFailed, match="2 calls to the engine hang"):
            await executor.run(lambda: "refused")
        answered.set()
        while True:  # until both threads have reported their end
            with contextlib.suppress(SandboxFailed):
                return await executor.run(lambda: "next")
            await asyncio.sleep(0)

    try:
        assert asyncio.run(scenario()) == "next"
    finally:
        answered.set()
