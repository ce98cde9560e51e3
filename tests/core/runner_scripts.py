"""Scripts of runners that several tests share."""

from typing import Any

from nanoclaw_wire.outbound import OutKind

from nanoclaw_core.testing.scripted import FakeRunner, Script, echo, silent


def dying(times: int) -> Script:
    """Return a runner that dies `times` times over its messages and then echoes."""
    runs = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal runs
        runs += 1
        if runs <= times:
            await runner.take()
            raise RuntimeError("dead")
        return await echo(runner)

    return script


def answering(count: int) -> Script:
    """Return a runner that answers the first `count` messages, one at a time, and takes no further one."""

    async def script(runner: FakeRunner) -> int:
        for _ in range(count):
            runner.answer(await runner.take(limit=1), "answered")
        return await silent(runner)

    return script


def writing(*contents: dict[str, Any] | str, kind: OutKind = OutKind.CHAT, **columns: Any) -> Script:
    """Return a runner that answers one batch with several rows, then waits."""

    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        last = messages[-1]
        where = {"channel": last.channel, "room": last.room, "thread": last.thread, "in_reply_to": last.id}
        for number, content in enumerate(contents, 1):
            runner.write(content, done=messages if number == len(contents) else (), kind=kind, **(where | columns))
        return await silent(runner)

    return script
