"""Attacks on the doorbell: endless ringing, connections held open, connections cut (I6, I10)."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hostile_sandbox import ATTACKER, AttackedHost, attacked_host
from nanoclaw_wire.doorbell import MAX_CONNECTIONS, RING_GAP_S, RINGS_BURST, DoorbellServer
from nanoclaw_wire.socket_path import short_path

from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner

pytestmark = pytest.mark.invariant(number=6)


@contextmanager
def connections(runner: FakeRunner, count: int) -> Iterator[list[socket.socket]]:
    """Hold connections to the doorbell open."""
    with ExitStack() as opened:
        held = [opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for connection in held:
            with short_path(runner.files.bell) as path:
                connection.connect(path)
            connection.setblocking(False)
        yield held


async def honest_answers(host: AttackedHost, count: int) -> None:
    for number in range(count):
        await host.honest_answer(f"meanwhile {number}")


def test_endless_ringing_delays_no_other_session(instance: Instance) -> None:
    over = asyncio.Event()

    async def attack(runner: FakeRunner) -> None:
        await runner.take()
        with connections(runner, MAX_CONNECTIONS - 1) as held:
            while not over.is_set():
                for connection in held:
                    with suppress(OSError):
                        connection.send(b"!" * 10_000)
                await asyncio.sleep(0.001)

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await honest_answers(host, 20)
            over.set()

    asyncio.run(scenario())


def test_held_doorbell_connections_stop_no_answer(instance: Instance) -> None:
    async def attack(runner: FakeRunner) -> None:
        messages = await runner.take()
        with connections(runner, MAX_CONNECTIONS * 3) as held:
            for connection in held[::2]:
                connection.close()
            runner.answer(messages, "answered")
            await asyncio.Event().wait()

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "answered")
            await honest_answers(host, 5)

    asyncio.run(scenario())


class FakeTime(asyncio.SelectorEventLoop):
    """An event loop whose time stands still unless the test moves it."""

    now = 0.0

    def time(self) -> float:
        return self.now


async def turns() -> None:
    """Let the host handle all that has arrived."""
    for _ in range(10):
        await asyncio.sleep(0)


async def knock(path: Path, times: int) -> None:
    """Connect, ring and disconnect again and again."""
    for _ in range(times):
        with socket.socket(socket.AF_UNIX) as line, suppress(BlockingIOError):
            line.setblocking(False)
            line.connect(str(path))
            line.send(b"!")
        await turns()


def test_rings_beyond_their_rate_are_merged(tmp_path: Path) -> None:
    loop, rings = FakeTime(), list[float]()

    async def scenario() -> list[int]:
        server = DoorbellServer(tmp_path / "bell.sock", lambda: rings.append(loop.now))
        await server.open()
        counts = []
        for _ in range(3):
            await knock(tmp_path / "bell.sock", times=RINGS_BURST)
            counts.append(len(rings))
            loop.now += RING_GAP_S * 1.01
        await server.close()
        return counts

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(scenario()) == [RINGS_BURST, RINGS_BURST + 1, RINGS_BURST + 2]
