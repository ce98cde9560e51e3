"""The path of a message: routing, the agent's turn, delivery."""

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
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, silent

from . import targets
from .figures import Figure, quantile


class FastChannel(RecorderChannel):
    """Counts messages instead of storing them, so that the channel does not affect the figures."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.last, self.first_at, self.last_at = 0, "", 0.0, 0.0
        self._reached = asyncio.Event()
        self._expected = 0

    async def deliver(self, address: Address, message: Outbound) -> str:
        self.count, self.last, self.last_at = self.count + 1, message.text, time.perf_counter()
        self.first_at = self.first_at or self.last_at
        if self.count >= self._expected:
            self._reached.set()
        return str(self.count)

    async def wait_for(self, count: int) -> None:
        self._expected = count
        if self.count < count:
            self._reached.clear()
            async with asyncio.timeout(120):
                await self._reached.wait()


@asynccontextmanager
async def with_mock(
    home: Path, *, runtime: str = "process", **plugins: dict[str, object]
) -> AsyncIterator[FastChannel]:
    """Run a host with the mock provider in a real sandbox."""
    instance = make_instance(home, provider="mock", runtime=runtime, disabled_plugins=["terminal"])
    instance = evolve(instance, settings=evolve(instance.settings, plugins={"mock": {"echo": True}, **plugins}))
    instance.wire()
    channel = FastChannel()
    environment = {"PATH": os.environ["PATH"]}
    async with Host(instance.settings, plugins={"recorder": channel}, environment=environment):
        yield channel
    instance.db.close()


@asynccontextmanager
async def with_silent_agent(home: Path, rooms: int = 1) -> AsyncIterator[tuple[Instance, FastChannel]]:
    """Run a host with sandboxes that never answer, to measure only the routing."""
    instance = make_instance(home, max_sandboxes=1)
    for number in range(rooms):
        instance.wire(room=f"room {number}", folder="agent")
    channel = FastChannel()
    own = {"recorder": channel, "scripted": ScriptedRuntime(silent)}
    async with Host(instance.settings, plugins=own, environment={}, use_installed_plugins=False):
        yield instance, channel
    instance.db.close()


def turns(home: Path, count: int) -> Iterator[Figure]:
    """Measure warm turns one by one, then a burst."""

    async def measure() -> tuple[list[float], float]:
        async with with_mock(home) as channel:
            await channel.say("warm up")
            await channel.wait_for(1)
            times = []
            for number in range(count):
                began = time.perf_counter()
                await channel.say("hello")
                await channel.wait_for(number + 2)
                times.append((time.perf_counter() - began) * 1_000)
            began = time.perf_counter()
            await asyncio.gather(*(channel.say(f"message {number}") for number in range(30)))
            last = f"message {29}"
            async with asyncio.timeout(60):
                while last not in channel.last:
                    await channel.wait_for(channel.count + 1)
            return times, (time.perf_counter() - began) * 1_000

    times, burst = asyncio.run(measure())
    yield Figure(metric=targets.WARM_P50, value=quantile(times, 0.5))
    yield Figure(metric=targets.WARM_P99, value=quantile(times, 0.99))
    yield Figure(metric=targets.BURST, value=burst)


def cold(home: Path, runtime: str, rounds: int, **plugins: dict[str, object]) -> float:
    """Return the milliseconds from a message to its answer if the sandbox must start first (median)."""

    async def measure() -> list[float]:
        times = []
        async with with_mock(home, runtime=runtime, **plugins) as channel:
            instance = make_instance(home)
            for number in range(rounds):
                room = f"cold {number}"
                instance.wire(room=room)
                began = time.perf_counter()
                await channel.say("hello", room=room)
                await channel.wait_for(number + 1)
                times.append((time.perf_counter() - began) * 1_000)
            instance.db.close()
        return times

    return quantile(asyncio.run(measure()), 0.5)


def routing(home: Path, count: int) -> Iterator[Figure]:
    """Measure routing alone: one by one, together, to many sessions, to rooms without a wiring."""

    async def measure() -> Iterator[Figure]:
        async with with_silent_agent(home, rooms=200) as (_, channel):
            for number in range(200):
                await channel.say("first", room=f"room {number}")
            times, cpu = [], time.process_time()
            for _ in range(count):
                began = time.perf_counter()
                await channel.say("hello", room="room 0")
                times.append((time.perf_counter() - began) * 1_000)
            cpu_ms = (time.process_time() - cpu) * 1_000 / count
            one_session = await _rate(channel, ["room 0"] * count)
            many_sessions = await _rate(channel, [f"room {number % 200}" for number in range(count)])
            ignored = await _rate(channel, ["elsewhere"] * count * 2)
        return iter(
            [
                Figure(metric=targets.ROUTE_P50, value=quantile(times, 0.5)),
                Figure(metric=targets.ROUTE_CPU, value=cpu_ms),
                Figure(metric=targets.ROUTE_TOGETHER, value=one_session),
                Figure(metric=targets.ROUTE_MANY, value=many_sessions),
                Figure(metric=targets.ROUTE_IGNORED, value=ignored),
            ]
        )

    yield from asyncio.run(measure())


def new_sessions(home: Path, count: int) -> Iterator[Figure]:
    """Measure the first messages of new sessions."""

    async def measure() -> float:
        async with with_silent_agent(home, rooms=count) as (_, channel):
            began = time.perf_counter()
            for number in range(count):
                await channel.say("hello", room=f"room {number}")
            return count / (time.perf_counter() - began)

    yield Figure(metric=targets.NEW_SESSION, value=asyncio.run(measure()))


def delivering(home: Path, session_count: int, per_session: int) -> float:
    """Return the messages per second that a starting host delivers from full outbox to an instant adapter."""

    async def fill() -> Instance:
        async with with_silent_agent(home, rooms=session_count) as (_, channel):
            for number in range(session_count):
                await channel.say("hello", room=f"room {number}", sender=f"person {number}")
        return make_instance(home, max_sandboxes=session_count + 1)  # one slot is for owners

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
            await channel.wait_for(total)
            rate = (total - 1) / (channel.last_at - channel.first_at)
        instance.db.close()
        return rate

    return asyncio.run(measure())


async def _rate(channel: FastChannel, rooms: list[str]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(channel.say("hello", room=room) for room in rooms))
    return len(rooms) / (time.perf_counter() - began)
