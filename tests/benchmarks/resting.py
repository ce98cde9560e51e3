"""Starting, stopping and idling: what a host costs when nothing happens."""

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

from . import goals
from .figures import Figure
from .message_way import FastChannel, with_mock

IDLE_S = 5.0
CALMING_S = 3.0  # what the last answer still costs is no cost of idling
DESCRIPTORS_EACH = 12  # of a running session, where its runner is in the same process


def idle(home: Path, running: int, all_sessions: int) -> Iterator[Figure]:
    """A host with many sessions of which some have an idle sandbox: CPU while nothing happens, and one sweep."""
    share, sweep_ms = _idling(home, running, all_sessions)
    yield Figure(goal=goals.IDLE_CPU, value=share)
    yield Figure(goal=goals.SWEEP, value=sweep_ms)


def idle_many(home: Path, running: int) -> Iterator[Figure]:
    """The same with very many sandboxes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(hard, running * DESCRIPTORS_EACH))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield Figure(goal=goals.IDLE_CPU_MANY, value=_idling(home, running, running)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _idling(home: Path, running: int, all_sessions: int) -> tuple[float, float]:
    """Return the share of a core that a host uses at rest, in per cent, and the CPU milliseconds of one sweep."""

    async def measure() -> tuple[float, float]:
        instance = make_instance(home, max_sandboxes=running)
        for number in range(all_sessions):
            instance.wire(room=f"room {number}")
        channel = FastChannel()
        own = {"recorder": channel, "scripted": ScriptedRuntime(echo)}
        async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False) as host:
            for number in range(running):
                await channel.say("hello", room=f"room {number}")
            await channel.reached(running)
            await asyncio.sleep(CALMING_S)
            cpu = time.process_time()
            await asyncio.sleep(IDLE_S)
            share = (time.process_time() - cpu) / IDLE_S * 100
            await host.components.sweeper.once()  # the first one copies what was acknowledged, once for each message
            cpu = time.process_time()
            await host.components.sweeper.once()
            sweep_ms = (time.process_time() - cpu) * 1_000
        instance.db.close()
        return share, sweep_ms

    return asyncio.run(measure())


def growth(home: Path, count: int) -> Iterator[Figure]:
    """How the host's memory grows over many messages, scaled to 10 000."""

    async def measure() -> float:
        instance = make_instance(home)
        instance.wire(room="room")
        channel = FastChannel()
        own = {"recorder": channel, "scripted": ScriptedRuntime(echo)}
        async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False) as host:

            async def some(number: int) -> None:
                for done in range(number):
                    await channel.say("hello", room="room")
                    if done % 1_000 == 999:  # as the clock does once a minute
                        await host.components.sweeper.once()

            await some(count // 5)
            gc.collect()
            before = resident_mb(os.getpid())
            await some(count)
            gc.collect()
            grown = resident_mb(os.getpid()) - before
        instance.db.close()
        return max(0.0, grown) * 10_000 / count

    yield Figure(goal=goals.HOST_GROWTH, value=asyncio.run(measure()))


def stopping(home: Path) -> Iterator[Figure]:
    """Ending a sandbox in order, and the memory of its runner while it idles."""

    async def measure() -> tuple[float, float]:
        async with with_mock(home) as channel:
            await channel.say("hello")
            await channel.reached(1)
            runner = resident_mb(_runner_process())
            began = time.perf_counter()
        return (time.perf_counter() - began) * 1_000, runner

    stop_ms, runner_mb = asyncio.run(measure())
    yield Figure(goal=goals.STOP_PROCESS, value=stop_ms)
    yield Figure(goal=goals.RUNNER_MEMORY, value=runner_mb)


def resident_mb(process_id: int) -> float:
    """Return a process's resident memory in MB."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def _runner_process() -> int:
    """Return the process id of the newest runner below this process."""
    found = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and b"nanoclaw_runner" in _command(entry) and b"bwrap" not in _command(entry)
    ]
    return max(found)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
