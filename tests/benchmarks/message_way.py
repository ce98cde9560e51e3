"""The way of a message: routed, answered, delivered."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import evolve
from nanoclaw_wire import clock, outbound
from nanoclaw_wire.outbound import NewOutbound, OutKind

from nanoclaw_core import Address, Host, Outbound
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

from . import goals
from .figures import Figure, quantile


class FastChannel(RecorderChannel):
    """Counts instead of keeping, so that the channel is no part of the figure."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.last, self.first_at, self.last_at = 0, "", 0.0, 0.0
        self._reached = asyncio.Event()
        self._wanted = 0

    async def deliver(self, address: Address, message: Outbound) -> str:
        self.count, self.last, self.last_at = self.count + 1, message.text, time.perf_counter()
        self.first_at = self.first_at or self.last_at
        if self.count >= self._wanted:
            self._reached.set()
        return str(self.count)

    async def reached(self, count: int) -> None:
        self._wanted = count
        if self.count < count:
            self._reached.clear()
            async with asyncio.timeout(120):
                await self._reached.wait()


async def silent(_runner: FakeRunner) -> int:
    await asyncio.Event().wait()
    return 0


@asynccontextmanager
async def with_mock(
    home: Path, *, runtime: str = "process", **plugins: dict[str, object]
) -> AsyncIterator[FastChannel]:
    """A host whose agent is the mock provider in a real sandbox."""
    instance = make_instance(home, provider="mock", runtime=runtime, disabled_plugins=["terminal"])
    instance = evolve(instance, settings=evolve(instance.settings, plugins={"mock": {"echo": True}, **plugins}))
    instance.wire()
    channel = FastChannel()
    environment = {"PATH": os.environ["PATH"]}
    async with Host(instance.settings, plugins={"recorder": channel}, environment=environment):
        yield channel
    instance.db.close()


@asynccontextmanager
async def with_nobody(home: Path, rooms: int = 1) -> AsyncIterator[tuple[Instance, FastChannel]]:
    """A host whose sandboxes never answer: routing alone."""
    instance = make_instance(home, max_sandboxes=1)
    for number in range(rooms):
        instance.wire(room=f"room {number}", folder="agent")
    channel = FastChannel()
    own = {"recorder": channel, "scripted": ScriptedRuntime(silent)}
    async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False):
        yield instance, channel
    instance.db.close()


def turns(home: Path, count: int) -> Iterator[Figure]:
    """Warm turns one after the other, then a burst."""

    async def measure() -> tuple[list[float], float]:
        async with with_mock(home) as channel:
            await channel.say("warm up")
            await channel.reached(1)
            times = []
            for number in range(count):
                began = time.perf_counter()
                await channel.say("hello")
                await channel.reached(number + 2)
                times.append((time.perf_counter() - began) * 1_000)
            began = time.perf_counter()
            await asyncio.gather(*(channel.say(f"message {number}") for number in range(30)))
            last = f"message {29}"
            async with asyncio.timeout(60):
                while last not in channel.last:
                    await channel.reached(channel.count + 1)
            return times, (time.perf_counter() - began) * 1_000

    times, burst = asyncio.run(measure())
    yield Figure(goal=goals.WARM_P50, value=quantile(times, 0.5))
    yield Figure(goal=goals.WARM_P99, value=quantile(times, 0.99))
    yield Figure(goal=goals.BURST, value=burst)


def cold(home: Path, runtime: str, rounds: int, **plugins: dict[str, object]) -> float:
    """Return the milliseconds from a first message to its answer, sandbox not running (median)."""

    async def measure() -> list[float]:
        times = []
        async with with_mock(home, runtime=runtime, **plugins) as channel:
            instance = make_instance(home)
            for number in range(rounds):
                room = f"cold {number}"
                instance.wire(room=room)
                began = time.perf_counter()
                await channel.say("hello", room=room)
                await channel.reached(number + 1)
                times.append((time.perf_counter() - began) * 1_000)
            instance.db.close()
        return times

    return quantile(asyncio.run(measure()), 0.5)


def routing(home: Path, count: int) -> Iterator[Figure]:
    """Messages that nobody answers: one by one, together, over many sessions, to rooms nobody wired."""

    async def measure() -> Iterator[Figure]:
        async with with_nobody(home, rooms=200) as (_, channel):
            for number in range(200):
                await channel.say("first", room=f"room {number}")
            times, cpu = [], time.process_time()
            for _ in range(count):
                began = time.perf_counter()
                await channel.say("hello", room="room 0")
                times.append((time.perf_counter() - began) * 1_000)
            cpu_ms = (time.process_time() - cpu) * 1_000 / count
            one = await _rate(channel, ["room 0"] * count)
            many = await _rate(channel, [f"room {number % 200}" for number in range(count)])
            ignored = await _rate(channel, ["elsewhere"] * count * 2)
        return iter(
            [
                Figure(goal=goals.ROUTE_P50, value=quantile(times, 0.5)),
                Figure(goal=goals.ROUTE_CPU, value=cpu_ms),
                Figure(goal=goals.ROUTE_TOGETHER, value=one),
                Figure(goal=goals.ROUTE_MANY, value=many),
                Figure(goal=goals.ROUTE_IGNORED, value=ignored),
            ]
        )

    yield from asyncio.run(measure())


def new_sessions(home: Path, count: int) -> Iterator[Figure]:
    """First messages of sessions that did not exist."""

    async def measure() -> float:
        async with with_nobody(home, rooms=count) as (_, channel):
            began = time.perf_counter()
            for number in range(count):
                await channel.say("hello", room=f"room {number}")
            return count / (time.perf_counter() - began)

    yield Figure(goal=goals.NEW_SESSION, value=asyncio.run(measure()))


def delivering(home: Path, session_count: int, per_session: int) -> float:
    """Return how many waiting messages a second a starting host delivers to an instant adapter."""

    async def fill() -> Instance:
        async with with_nobody(home, rooms=session_count) as (_, channel):
            for number in range(session_count):
                await channel.say("hello", room=f"room {number}")
        return make_instance(home, max_sandboxes=session_count)

    async def one_batch(runner: FakeRunner) -> int:
        messages = await runner.take()
        room = messages[-1].room
        rows = [
            NewOutbound(
                id=f"m{number}",
                kind=OutKind.CHAT,
                at=clock.now_text(),
                content='{"text": "hello"}',
                channel="recorder",
                room=room,
            )
            for number in range(per_session)
        ]
        outbound.write(runner.written, now=clock.now_text(), messages=rows)
        runner.bell.ring()
        await asyncio.Event().wait()
        return 0

    async def measure() -> float:
        instance = await fill()
        channel = FastChannel()
        own = {"recorder": channel, "scripted": ScriptedRuntime(one_batch)}
        total = session_count * per_session
        async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False):
            await channel.reached(total)
            rate = (total - 1) / (channel.last_at - channel.first_at)
        instance.db.close()
        return rate

    return asyncio.run(measure())


async def _rate(channel: FastChannel, rooms: list[str]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(channel.say("hello", room=room) for room in rooms))
    return len(rooms) / (time.perf_counter() - began)
