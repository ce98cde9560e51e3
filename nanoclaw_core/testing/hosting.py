"""Runs a host in a test, with a recording channel and scripted sandboxes unless the test passes others.

In an async test:

    async with running_host(instance, mine=my_plugin) as running:
        await running.channel.say("hello")
        assert await running.channel.texts(1) == ["echo: hello"]

A test without an event loop runs the host in a thread with `host_in_thread`, or with the fixture `nanoclaw_host`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from attrs import field, frozen
from nanoclaw_wire.frames import Request

from nanoclaw_core import Caller, Host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S, RecorderChannel
from nanoclaw_core.testing.scripted import ScriptedRuntime
from nanoclaw_core.timing import Timing

T = TypeVar("T")


@frozen(kw_only=True)
class Running:
    """A running host, and the objects that a test inspects."""

    host: Host
    instance: Instance
    channel: RecorderChannel
    runtime: ScriptedRuntime
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)

    async def ask(self, *words: str, caller: Caller | None = None, **options: Any) -> dict[str, Any]:
        """Run a verb, as the operator if `caller` is None, and return the answer frame."""
        request = Request(id="test", words=list(words), options=options)
        answer = await self.host.components.dispatch.answer(request, caller or Caller(operator=True))
        return answer.as_json_object()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the host's loop from another thread, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)


@asynccontextmanager
async def running_host(
    instance: Instance,
    *,
    channel: RecorderChannel | None = None,
    runtime: ScriptedRuntime | None = None,
    environment: Mapping[str, str] | None = None,
    timing: Timing | None = None,
    **plugins: object,
) -> AsyncIterator[Running]:
    """Run a host from its start to its stop.

    Args:
        instance: The instance directory.
        channel: The channel; None for a new `RecorderChannel`.
        runtime: The runtime; None for a new `ScriptedRuntime`.
        environment: The host's environment; None for an empty one.
        timing: The host's times; None for the default ones.
        plugins: The test's own plugin modules or objects, by name. Installed plugins are not loaded.
    """
    channel, runtime = channel or RecorderChannel(), runtime or ScriptedRuntime()
    own = {"recorder": channel, "scripted": runtime, **plugins}
    options: dict[str, Any] = {"environment": environment or {}, "timing": timing or Timing()}
    async with Host(instance.settings, plugins=own, use_installed_plugins=False, **options) as host:
        await asyncio.sleep(0)  # every channel has begun to listen
        yield Running(host=host, instance=instance, channel=channel, runtime=runtime)


@contextlib.contextmanager
def host_in_thread(instance: Instance, **options: Any) -> Iterator[Running]:
    """Run a host on an event loop in a thread. The arguments are those of `running_host`.

    Raises:
        NanoclawError: The host could not start.
    """
    started: Future[tuple[Running, asyncio.Event]] = Future()

    async def run_host() -> None:
        async with running_host(instance, **options) as running:
            stop = asyncio.Event()
            started.set_result((running, stop))
            await stop.wait()

    def run_thread() -> None:
        try:
            asyncio.run(run_host())
        except BaseException as error:  # the test's thread raises it
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run_thread, name="nanoclaw host", daemon=True)
    thread.start()
    running, stop = started.result(WAIT_S)
    try:
        yield running
    finally:
        running._loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT_S)


async def until(holds: Callable[[], object]) -> None:
    """Wait until a condition holds that no event announces. The event loop runs meanwhile."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110  # session files send a test no event
            await asyncio.sleep(0.005)
