"""The cost of an idle host, its growth over many messages, and the stop of a sandbox."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from nanoclaw_core import Host
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.scripted import ScriptedRuntime, echo

from . import targets
from .figures import Figure
from .message_path import FastChannel, with_mock

IDLE_S = 5.0
SETTLE_S = 3.0  # the host still works on the last answer for a while
DESCRIPTORS_PER_SESSION = 12  # open files of a running session with its runner in this process


def idle(home: Path, running: int, all_sessions: int) -> Iterator[Figure]:
    """Measure the CPU of an idle host, and one sweep, with many sessions.

    `running` of them have an idle sandbox.
    """
    share, sweep_ms = _idling(home, running, all_sessions)
    yield Figure(metric=targets.IDLE_CPU, value=share)
    yield Figure(metric=targets.SWEEP, value=sweep_ms)


def idle_many(home: Path, running: int) -> Iterator[Figure]:
    """Measure the CPU of an idle host with very many sandboxes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(soft, min(hard, running * DESCRIPTORS_PER_SESSION))
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield Figure(metric=targets.IDLE_CPU_MANY, value=_idling(home, running, running)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _idling(home: Path, running: int, all_sessions: int) -> tuple[float, float]:
    """Return the share of a core that an idle host uses, in percent, and the CPU milliseconds of one sweep."""

    async def measure() -> tuple[float, float]:
        instance = make_instance(home, max_sandboxes=running)
        for number in range(all_sessions):
            instance.wire(room=f"room {number}")
        channel = FastChannel()
        own = {"recorder": channel, "scripted": ScriptedRuntime(echo)}
        async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False) as host:
            for number in range(running):
                await channel.say("hello", room=f"room {number}")
            await channel.wait_for(running)
            await asyncio.sleep(SETTLE_S)
            cpu = time.process_time()
            await asyncio.sleep(IDLE_S)
            share = (time.process_time() - cpu) / IDLE_S * 100
            await host.components.sweeper.once()  # the first sweep copies acknowledgements, once for each message
            cpu = time.process_time()
            await host.components.sweeper.once()
            sweep_ms = (time.process_time() - cpu) * 1_000
        instance.db.close()
        return share, sweep_ms

    return asyncio.run(measure())


def growth(home: Path, count: int) -> Iterator[Figure]:
    """Measure the growth of the host's memory over many messages, scaled to 10 000."""

    async def measure() -> float:
        instance = make_instance(home)
        instance.wire(room="room")
        channel = FastChannel()
        own = {"recorder": channel, "scripted": ScriptedRuntime(echo)}
        async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False) as host:

            async def send(messages: int) -> None:
                for number in range(messages):
                    await channel.say("hello", room="room")
                    if number % 1_000 == 999:  # in place of the sweep that a host does once a minute
                        await host.components.sweeper.once()

            await send(count // 5)
            gc.collect()
            before = resident_mb(os.getpid())
            await send(count)
            gc.collect()
            grown = resident_mb(os.getpid()) - before
        instance.db.close()
        return max(0.0, grown) * 10_000 / count

    yield Figure(metric=targets.HOST_GROWTH, value=asyncio.run(measure()))


def stopping(home: Path) -> Iterator[Figure]:
    """Measure the stop of a sandbox, and the memory of its idle runner."""

    async def measure() -> tuple[float, float]:
        async with with_mock(home) as channel:
            await channel.say("hello")
            await channel.wait_for(1)
            runner = resident_mb(_runner_process())
            began = time.perf_counter()
        return (time.perf_counter() - began) * 1_000, runner

    stop_ms, runner_mb = asyncio.run(measure())
    yield Figure(metric=targets.STOP_PROCESS, value=stop_ms)
    yield Figure(metric=targets.RUNNER_MEMORY, value=runner_mb)


def resident_mb(process_id: int) -> float:
    """Return a process's resident memory in MB."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def _runner_process() -> int:
    """Return the process id of the machine's newest runner."""
    runners = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and b"nanoclaw_runner" in _command(entry) and b"bwrap" not in _command(entry)
    ]
    return max(runners)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
