"""Running a host in a test, with a recording channel and scripted sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import frozen

from nanoclaw_core import Host
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import WAIT_S, RecorderChannel
from nanoclaw_core.testing.scripted import ScriptedRuntime


@frozen(kw_only=True)
class Running:
    """A host at work and what a test looks at."""

    host: Host
    instance: Instance
    channel: RecorderChannel
    runtime: ScriptedRuntime


@asynccontextmanager
async def running_host(
    instance: Instance,
    *,
    channel: RecorderChannel | None = None,
    runtime: ScriptedRuntime | None = None,
    **plugins: object,
) -> AsyncIterator[Running]:
    channel, runtime = channel or RecorderChannel(), runtime or ScriptedRuntime()
    own = {"recorder": channel, "scripted": runtime, **plugins}
    async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False) as host:
        yield Running(host=host, instance=instance, channel=channel, runtime=runtime)


async def until(holds: Callable[[], object]) -> None:
    """Wait until something is true that nothing announces; the event loop goes on meanwhile."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110  # the files of a session announce nothing to a test
            await asyncio.sleep(0.005)


def an_instance(home: Path, **core: object) -> Instance:
    """An instance with one wired room."""
    instance = make_instance(home, **core)
    instance.wire()
    return instance
