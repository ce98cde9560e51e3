"""A host with a hostile session and an honest one side by side."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import apsw
from attrs import frozen

from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

VILLAIN, HONEST = "villain", "honest"
Script = Callable[[FakeRunner], Awaitable[object]]


@frozen
class Scene:
    """What a test sees."""

    running: Running

    async def honest_answer(self, text: str) -> None:
        """Write in the honest room, and wait for the answer."""
        await self.running.channel.say(text, room=HONEST)
        await until(lambda: f"echo: {text}" in self.texts(HONEST))

    def texts(self, room: str) -> list[str]:
        return [one.message.text for one in self.running.channel.delivered if one.address.room == room]

    async def text_in(self, room: str, part: str) -> str:
        """Wait for a message in a room that has some words, and return it."""
        await until(lambda: any(part in text for text in self.texts(room)))
        return next(text for text in self.texts(room) if part in text)


@asynccontextmanager
async def scene(instance: Instance, crime: Script, *, once: bool = True, **plugins: object) -> AsyncIterator[Scene]:
    """Let the villain commit its crime when it first hears something; afterwards it echoes.

    Args:
        once: False commits it in every sandbox of the villain's.
        plugins: Of the test's own, by name.
    """
    for room in (VILLAIN, HONEST):
        instance.wire(room=room, folder=room)
    crimes = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal crimes
        if f"-{VILLAIN}-" not in runner.spec.name or (once and crimes):
            return await echo(runner)
        crimes += 1
        await crime(runner)
        runner.bell.ring()
        return await echo(runner)

    async with running_host(instance, runtime=ScriptedRuntime(script), **plugins) as running:
        await Scene(running).honest_answer("before")
        yield Scene(running)


def rewrite(runner: FakeRunner, sql: str) -> None:
    """Do to the villain's own file what no runner of ours would."""
    db = apsw.Connection(str(runner.files.outbound_db))
    db.pragma("writable_schema", 1)
    db.execute(sql)
    db.close()


async def ring_and_hang(runner: FakeRunner) -> None:
    """Call the host to its file, and never come back."""
    runner.bell.ring()
    await asyncio.Event().wait()
