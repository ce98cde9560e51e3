"""The sweep, through a running host: what it does about sandboxes that are stuck."""

import asyncio
from datetime import timedelta

from nanoclaw_wire import clock, outbound
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core.components import Components
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, Script, ScriptedRuntime, echo

LONG_AGO = "2026-01-01T00:00:00.000Z"


def first(stuck: Script) -> Script:
    """A runner whose first life is stuck; every later one echoes."""
    lives = iter((stuck,))

    async def script(runner: FakeRunner) -> int:
        return await next(lives, echo)(runner)

    return script


async def claims_and_hangs(runner: FakeRunner) -> int:
    while not (found := runner.pending()):
        await runner.bell.wait(1)
    outbound.write(runner.written, now=LONG_AGO, acknowledge=[(row.id, AckStatus.PROCESSING) for row in found])
    runner.bell.ring()
    await asyncio.Event().wait()
    return 0


async def sleeps(runner: FakeRunner) -> int:
    runner.idle()
    await asyncio.Event().wait()
    return 0


def has_claimed(machine: Components) -> bool:
    return any(machine.mailbox.outbox.claims(session_id) for session_id in machine.supervisor.running)


def let_two_minutes_pass(machine: Components) -> None:
    for sandbox in machine.supervisor.running.values():
        sandbox.ignored = {row: since - timedelta(minutes=2) for row, since in sandbox.ignored.items()}


def tries(instance: Instance, machine: Components) -> list[int]:
    sessions = [session_id for (session_id,) in instance.db.execute("SELECT id FROM sessions")]
    return [
        tries
        for one in sessions
        for (tries,) in machine.mailbox.inbox.read(one).execute("SELECT tries FROM messages_in")
    ]


def test_sweep_replaces_a_sandbox_stuck_over_a_message(instance: Instance) -> None:
    async def scenario() -> tuple[list[str], list[int]]:
        async with running_host(instance, runtime=ScriptedRuntime(first(claims_and_hangs))) as running:
            await running.channel.say("hi")
            machine = running.host.components
            await until(lambda: has_claimed(machine))
            await machine.sweeper.once()
            return await running.channel.texts(1), tries(instance, machine)

    assert asyncio.run(scenario()) == (["echo: hi"], [1])


def test_sweep_replaces_an_idle_sandbox_that_takes_no_message(
    instance: Instance,
) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(first(sleeps))) as running:
            await running.channel.say("hi")
            machine = running.host.components
            await until(lambda: machine.supervisor.running)
            await until(lambda: all(machine.mailbox.outbox.state(one) for one in machine.supervisor.running))
            await machine.sweeper.once()
            assert len(running.runtime.specs) == 1
            let_two_minutes_pass(machine)
            await machine.sweeper.once()
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


def test_clock_set_back_hides_no_stuck_sandbox(instance: Instance) -> None:
    """What was noted before lies ahead of the clock: the next sweep counts it from now on."""

    async def scenario() -> list[bool]:
        async with running_host(instance, runtime=ScriptedRuntime(sleeps)) as running:
            await running.channel.say("hi")
            machine = running.host.components
            await until(lambda: machine.supervisor.running)
            await machine.sweeper.once()
            (sandbox,) = machine.supervisor.running.values()
            sandbox.started_at += timedelta(days=1)
            sandbox.ignored = {row: since + timedelta(days=1) for row, since in sandbox.ignored.items()}
            await machine.sweeper.once()
            return [at <= clock.now() for at in (sandbox.started_at, *sandbox.ignored.values())]

    assert asyncio.run(scenario()) == [True, True]


def test_sweep_leaves_an_idle_sandbox_running(instance: Instance) -> None:
    async def scenario() -> int:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            machine = running.host.components
            for _ in range(2):
                await machine.sweeper.once()
                let_two_minutes_pass(machine)
            return len(machine.supervisor.running)

    assert asyncio.run(scenario()) == 1
