"""The typing indicator: its times and their effects, in simulated time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated_time import SimulatedLoop, simulated_time

from nanoclaw_core import Address, SessionId
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.mailbox.outbox import OutboxReader
from nanoclaw_core.testing.recorder import WAIT_S
from nanoclaw_core.timing import Timing

ROOM = Address("chat", "r", None)
SESSION = SessionId("ses-1")
END_S = 40.0


class Typing:
    """A channel that records the seconds at which it showed typing, and the indicator of one session."""

    def __init__(self, home: Path) -> None:
        directories = open_root(home)
        directories.create(SESSION)
        self.shown_at_s: list[int] = []
        self.indicator = TypingIndicator({"chat": self}, OutboxReader(directories, file_bytes=0), Timing())
        self._heartbeat = directories.layout(SESSION).heartbeat
        self._began = asyncio.get_running_loop().time()

    async def show_typing(self, _address: Address) -> None:
        self.shown_at_s.append(round(asyncio.get_running_loop().time() - self._began))

    async def beat(self, seconds: int) -> None:
        """Touch the heartbeat each second."""
        for _ in range(seconds):
            self._heartbeat.touch()
            os.utime(self._heartbeat, (time.time(), time.time()))
            await asyncio.sleep(1)


async def shown(typing: Typing, *, alive_s: int = 0, delivered_at_s: float | None = None) -> list[int]:
    """Start the indicator, and return the seconds at which it was shown."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(typing.beat(alive_s))
        typing.indicator.start(SESSION, ROOM)
        if delivered_at_s is not None:
            await asyncio.sleep(delivered_at_s)
            typing.indicator.pause(SESSION)
        await asyncio.sleep(END_S)
    await typing.indicator.close()
    return typing.shown_at_s


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedLoop]:
    """Return a loop with simulated time."""
    with simulated_time(monkeypatch) as loop:
        yield loop


async def shown_in(home: Path, *, alive_s: int = 0, delivered_at_s: float | None = None) -> list[int]:
    return await shown(Typing(home), alive_s=alive_s, delivered_at_s=delivered_at_s)


def test_typing_without_heartbeat_ends_after_the_grace_time(tmp_path: Path, loop: SimulatedLoop) -> None:
    assert loop.run_until_complete(shown_in(tmp_path)) == [0, 4, 8, 12]


def test_typing_continues_while_the_runner_is_alive(tmp_path: Path, loop: SimulatedLoop) -> None:
    assert loop.run_until_complete(shown_in(tmp_path, alive_s=29)) == [0, 4, 8, 12, 16, 20, 24, 28, 32]


def test_typing_pauses_after_a_message(tmp_path: Path, loop: SimulatedLoop) -> None:
    times = loop.run_until_complete(shown_in(tmp_path, alive_s=29, delivered_at_s=8.5))
    assert times == [0, 4, 8, 20, 24, 28, 32]


def test_typing_ends_with_the_sandbox(tmp_path: Path, loop: SimulatedLoop) -> None:
    async def scenario() -> list[int]:
        typing = Typing(tmp_path)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(typing.beat(50))
            typing.indicator.start(SESSION, ROOM)
            await asyncio.sleep(9)
            typing.indicator.stop(SESSION)
        return typing.shown_at_s

    assert loop.run_until_complete(scenario()) == [0, 4, 8]


def test_typing_that_exits_ends_nothing_else(tmp_path: Path, loop: SimulatedLoop) -> None:
    """A plugin that calls sys.exit in a hint must not end the host."""

    class Exiting(Typing):
        async def show_typing(self, address: Address) -> None:
            await super().show_typing(address)
            sys.exit(3)

    async def scenario() -> list[int]:
        return await shown(Exiting(tmp_path))

    assert loop.run_until_complete(scenario()) == [0, 4, 8, 12]


def test_hanging_typing_delays_no_close(tmp_path: Path, loop: SimulatedLoop) -> None:
    """A channel that swallows its cancellation must not keep the host from its stop."""
    is_hanging, release = asyncio.Event(), asyncio.Event()

    class Hanging(Typing):
        async def show_typing(self, _address: Address) -> None:
            is_hanging.set()
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()

    async def scenario() -> None:
        typing = Hanging(tmp_path)
        typing.indicator.start(SESSION, ROOM)
        await is_hanging.wait()
        try:
            async with asyncio.timeout(WAIT_S):
                await typing.indicator.close()
        finally:
            release.set()

    loop.run_until_complete(scenario())
