"""Supervision of sandboxes by a running host: wakes, deaths, restarts, stops and rings."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from nanoclaw_wire import outbound
from nanoclaw_wire.outbound import AckStatus
from runner_scripts import dying

from nanoclaw_core import SandboxSpec
from nanoclaw_core.store import sessions
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, ScriptedSandbox


def test_concurrent_wakes_start_one_sandbox(instance: Instance) -> None:
    async def scenario() -> int:
        async with running_host(instance) as running:
            await asyncio.gather(*(running.channel.say(str(number)) for number in range(10)))
            await running.channel.texts(1)
            return len(running.runtime.specs)

    assert asyncio.run(scenario()) == 1


def test_message_during_sandbox_exit_gets_a_new_sandbox(instance: Instance) -> None:
    async def once(runner: FakeRunner) -> int:
        runner.answer(await runner.take(), "done")
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(once)) as running:
            for count in range(1, 6):
                await running.channel.say("again")
                await running.channel.texts(count)
            return [sent.message.text for sent in running.channel.delivered]

    assert asyncio.run(scenario()) == ["done"] * 5


def test_message_of_a_dead_sandbox_is_answered_by_the_next(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(dying(2))) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


def test_closed_session_is_not_run_again(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """A wake during a quarantine finds no files and must not retry forever."""

    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            (session,) = instance.sessions()
            supervisor = running.host.components.supervisor
            await supervisor.stop_session(session.id, "a test")
            sessions.close(instance.db, session.id)
            (instance.paths.home / "sessions" / session.id).rename(instance.paths.home / "away")
            running.host.components.mailbox.inbox.release(session.id)
            supervisor.wake(session.id)
            await until(lambda: f"session {session.id}" not in {task.get_name() for task in asyncio.all_tasks()})

    asyncio.run(scenario())
    assert "sandbox could not be started" not in caplog.messages


def test_stopped_session_can_be_woken_again(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            (session,) = instance.sessions()
            supervisor = running.host.components.supervisor
            await supervisor.stop_session(session.id, "a test")
            supervisor.wake(session.id)
            await supervisor.stop_session(session.id, "a test")
            await running.channel.say("still there?")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: hi", "echo: still there?"]


class LateReading(ScriptedRuntime):
    """A runtime with sandboxes that read their inbox again while they stop.

    `last_reads` has the texts.
    """

    def __init__(self, script: Callable[[FakeRunner], Awaitable[int]]) -> None:
        super().__init__(self._script)
        self.last_reads: list[list[str]] = []
        self._inner = script
        self._runners: list[FakeRunner] = []

    async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
        self.specs.append(spec)
        return LateReadingSandbox(spec, self)

    def read_inbox(self) -> None:
        messages = self._runners[-1].pending()
        self.last_reads.append([json.loads(message.content)["text"] for message in messages])

    async def _script(self, runner: FakeRunner) -> int:
        self._runners.append(runner)
        return await self._inner(runner)


class LateReadingSandbox(ScriptedSandbox):
    """A sandbox of this runtime."""

    def __init__(self, spec: SandboxSpec, runtime: LateReading) -> None:
        super().__init__(spec, runtime.script)
        self._runtime = runtime

    async def stop(self, grace_s: float) -> None:
        self._runtime.read_inbox()
        await super().stop(grace_s)


@pytest.mark.invariant(number=5)
def test_restart_note_is_read_only_by_a_fresh_runner(instance: Instance) -> None:
    received: list[tuple[int, list[str]]] = []
    runs = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal runs
        runs += 1
        run = runs
        while True:
            messages = await runner.take()
            received.append((run, [json.loads(message.content)["text"] for message in messages]))
            outbound.write(
                runner.written,
                now="2026-01-01T00:00:00.000Z",
                acknowledge=[(message.id, AckStatus.COMPLETED) for message in messages],
            )
            runner.bell.ring()

    async def scenario() -> None:
        runtime = LateReading(script)
        async with running_host(instance, runtime=runtime) as running:
            await running.channel.say("hi")
            await until(lambda: received)
            (session,) = instance.sessions()
            await running.host.components.supervisor.restart(session.id, "config updated")
            await until(lambda: len(received) == 2)
            assert runtime.last_reads == [[]]

    asyncio.run(scenario())
    assert received == [(1, ["hi"]), (2, ["config updated"])]


@pytest.mark.defect(number=51)
def test_hanging_channel_delays_no_other_channel(instance: Instance) -> None:
    class Hanging(RecorderChannel):
        async def listen(self, receive: object) -> None:
            await asyncio.Event().wait()

    async def scenario() -> list[str]:
        async with running_host(instance, hanging=Hanging("hanging")) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.invariant(number=10)
def test_answer_does_not_wait_for_a_poll(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("a")
            await running.channel.texts(1)
            await running.channel.say("b")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: a", "echo: b"]


@pytest.mark.invariant(number=10)
def test_runner_without_a_doorbell_is_still_polled(instance: Instance) -> None:
    async def deaf(runner: FakeRunner) -> int:
        await runner.bell.close()
        while not (messages := runner.pending()):  # noqa: ASYNC110  # without a doorbell it must poll
            await asyncio.sleep(0)
        runner.answer(messages, "by the clock")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(deaf)) as running:
            await running.channel.say("a")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["by the clock"]
