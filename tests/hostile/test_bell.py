"""What a sandbox can do to its doorbell: ring without end, hold lines open, hang up half-way (I6, I10)."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from nanoclaw_wire.doorbell import MAX_CONNECTIONS
from nanoclaw_wire.socket_path import short_path
from villainy import VILLAIN, Scene, scene

from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner


@contextmanager
def lines(runner: FakeRunner, count: int) -> Iterator[list[socket.socket]]:
    """Hold so many connections to the bell open."""
    with ExitStack() as opened:
        held = [opened.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for line in held:
            with short_path(runner.files.bell) as path:
                line.connect(path)
            line.setblocking(False)
        yield held


async def honest_answers(seen: Scene, count: int) -> None:
    for number in range(count):
        await seen.honest_answer(f"meanwhile {number}")


def test_invariant_06_while_one_rings_without_end_the_others_are_answered(instance: Instance) -> None:
    over = asyncio.Event()

    async def crime(runner: FakeRunner) -> None:
        await runner.take()
        with lines(runner, MAX_CONNECTIONS - 1) as held:
            while not over.is_set():
                for line in held:
                    with suppress(OSError):
                        line.send(b"!" * 10_000)
                await asyncio.sleep(0.001)

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await honest_answers(seen, 20)
            over.set()

    asyncio.run(scenario())


def test_invariant_06_lines_held_open_and_cut_keep_nobody_from_answering(instance: Instance) -> None:
    async def crime(runner: FakeRunner) -> None:
        messages = await runner.take()
        with lines(runner, MAX_CONNECTIONS * 3) as held:
            for line in held[::2]:
                line.close()
            runner.answer(messages, "answered")
            await asyncio.Event().wait()

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "answered")
            await honest_answers(seen, 5)

    asyncio.run(scenario())
