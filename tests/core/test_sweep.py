"""The sweep of a running host: it replaces stuck sandboxes."""

import asyncio
from datetime import timedelta

from nanoclaw_wire import clock, outbound
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core.components import Components
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, Script, ScriptedRuntime, echo

LONG_AGO = "2026-01-01T00:00:00.000Z"


def first(hangs: Script) -> Script:
    """Return a runner that hangs in its first run and echoes in later ones."""
    runs = iter((hangs,))

    async def script(runner: FakeRunner) -> int:
        return await next(runs, echo)(runner)

    return script


async def claims_and_hangs(runner: FakeRunner) -> int:
    while not (rows := runner.pending()):
        await runner.bell.wait(1)
    outbound.write(runner.written, now=LONG_AGO, acknowledge=[(row.id, AckStatus.PROCESSING) for row in rows])
    runner.bell.ring()
    await asyncio.Event().wait()
    return 0


async def sleeps(runner: FakeRunner) -> int:
    runner.idle()
    await asyncio.Event().wait()
    return 0


def has_claimed(components: Components) -> bool:
    return any(components.mailbox.outbox.claims(session_id) for session_id in components.supervisor.running)


def let_two_minutes_pass(components: Components) -> None:
    for sandbox in components.supervisor.running.values():
        sandbox.ignored = {row: since - timedelta(minutes=2) for row, since in sandbox.ignored.items()}


def tries(instance: Instance, components: Components) -> list[int]:
    sessions = [session_id for (session_id,) in instance.db.execute("SELECT id FROM sessions")]
    return [
        tries
        for session_id in sessions
        for (tries,) in components.mailbox.inbox.read(session_id).execute("SELECT tries FROM messages_in")
    ]


def test_sweep_replaces_a_sandbox_stuck_over_a_message(instance: Instance) -> None:
    async def scenario() -> tuple[list[str], list[int]]:
        async with running_host(instance, runtime=ScriptedRuntime(first(claims_and_hangs))) as running:
            await running.channel.say("hi")
            components = running.host.components
            await until(lambda: has_claimed(components))
            await components.sweeper.once()
            return await running.channel.texts(1), tries(instance, components)

    assert asyncio.run(scenario()) == (["echo: hi"], [1])


def test_sweep_replaces_an_idle_sandbox_that_takes_no_message(
    instance: Instance,
) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(first(sleeps))) as running:
            await running.channel.say("hi")
            components = running.host.components
            await until(lambda: components.supervisor.running)
            await until(
                lambda: all(components.mailbox.outbox.state(session_id) for session_id in components.supervisor.running)
            )
            await components.sweeper.once()
            assert len(running.runtime.specs) == 1
            let_two_minutes_pass(components)
            await components.sweeper.once()
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


def test_clock_set_back_hides_no_stuck_sandbox(instance: Instance) -> None:
    """Recorded times that lie in the future are reset by the next sweep."""

    async def scenario() -> list[bool]:
        async with running_host(instance, runtime=ScriptedRuntime(sleeps)) as running:
            await running.channel.say("hi")
            components = running.host.components
            await until(lambda: components.supervisor.running)
            await components.sweeper.once()
            (sandbox,) = components.supervisor.running.values()
            sandbox.started_at += timedelta(days=1)
            sandbox.ignored = {row: since + timedelta(days=1) for row, since in sandbox.ignored.items()}
            await components.sweeper.once()
            return [at <= clock.now() for at in (sandbox.started_at, *sandbox.ignored.values())]

    assert asyncio.run(scenario()) == [True, True]


def test_sweep_leaves_an_idle_sandbox_running(instance: Instance) -> None:
    async def scenario() -> int:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            components = running.host.components
            for _ in range(2):
                await components.sweeper.once()
                let_two_minutes_pass(components)
            return len(components.supervisor.running)

    assert asyncio.run(scenario()) == 1
