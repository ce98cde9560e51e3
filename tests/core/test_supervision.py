"""Supervision of sandboxes by a running host: wakes, deaths, retries, restarts, refusals and stops."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest
from attrs import evolve
from nanoclaw_wire import config, inbound, outbound, session_files
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core import Address, AlreadyRunning, Host, Readiness, SandboxFailed, SandboxRefused, SandboxSpec
from nanoclaw_core.sandboxes.health import MAX_TRIES
from nanoclaw_core.sandboxes.notices import NOT_NOW, REFERENCE_HINT
from nanoclaw_core.sandboxes.supervisor import MAX_UNREADABLE_RUNS
from nanoclaw_core.store import agents, sessions
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, set_aside_before
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, ScriptedSandbox, echo

HOST_PROCESS = """
import asyncio
import sys
from pathlib import Path

from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.scripted import ScriptedRuntime

async def never(_runner):
    await asyncio.Event().wait()

async def main():
    async with running_host(make_instance(Path(sys.argv[1])), runtime=ScriptedRuntime(never)) as running:
        await running.channel.say("hi")
        await until(lambda: running.runtime.specs)
        print("a sandbox runs", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def session_directory(instance: Instance) -> Path:
    (session,) = instance.sessions()
    return instance.places.home / "sessions" / session.id


def of_another_version(path: Path) -> None:
    """Give a session file another version, so that this host cannot read it but does not call it damaged."""
    db = apsw.Connection(str(path))
    db.pragma("user_version", 99)
    db.close()


def statuses(instance: Instance) -> list[tuple[str, int]]:
    db = session_files.open_readable(session_directory(instance) / "in" / "inbound.db")
    try:
        return db.execute("SELECT status, tries FROM messages_in ORDER BY seq").fetchall()
    finally:
        db.close()


def due_at(instance: Instance) -> str | None:
    due: str | None = instance.db.execute("SELECT due_at FROM sessions").get
    return due


def dying(
    times: int, before_death: Callable[[FakeRunner], None] = lambda _runner: None
) -> Callable[[FakeRunner], object]:
    """Return a runner that dies `times` times over its messages and then echoes."""
    runs = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal runs
        runs += 1
        if runs <= times:
            await runner.take()
            before_death(runner)
            raise RuntimeError("dead")
        return await echo(runner)

    return script


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


@pytest.mark.defect(number=42)
def test_people_are_informed_when_a_message_is_given_up(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(dying(100))) as running:
            receipt = await running.channel.say("hi")
            (text,) = await running.channel.texts(1)
            await until(lambda: statuses(instance) == [("failed", 5)])
            return [text, receipt.correlation_id]

    text, correlation_id = asyncio.run(scenario())
    assert "could not answer" in text
    assert correlation_id in text


@pytest.mark.defect(number=47)
def test_failure_is_never_sent_to_an_agent(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            (session,) = instance.sessions()
            running.host.components.notifier.send_failure(Address("agent", session.agent_group_id), "an error", "msg-1")
            await running.channel.say("and?")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: hi", "echo: and?"]
    assert instance.db.execute("SELECT count(*) FROM deliveries WHERE channel = 'agent'").get == 0


def test_sandbox_start_is_retried_after_a_failure(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            running.runtime.troubles = [SandboxFailed("engine hiccup")]
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


def test_people_are_informed_of_repeated_start_failures(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            running.runtime.troubles = [SandboxFailed("engine down")] * 3
            await running.channel.say("hi")
            return await running.channel.texts(2)

    first, second = asyncio.run(scenario())
    assert first.startswith(f"{NOT_NOW} {REFERENCE_HINT} msg-")
    assert second == "echo: hi"


def test_runner_with_a_full_disk_counts_no_try(instance: Instance) -> None:
    """A runner that meets a full disk is restarted until it works, and no message is given up."""
    runs = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal runs
        runs += 1
        if runs > 2 * MAX_TRIES:
            return await echo(runner)
        await runner.take()
        return EXIT_NO_ROOM

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(2)

    notice, answer = asyncio.run(scenario())
    assert (notice.startswith(NOT_NOW), answer) == (True, "echo: hi")
    assert statuses(instance) == [("completed", 0)]
    assert set_aside_before(instance.places.home / "sessions") == []


def test_runs_with_a_full_disk_do_not_quarantine_a_session(instance: Instance) -> None:
    """Runs with a full disk do not count as failed repairs, of which three quarantine a session."""
    runs = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal runs
        runs += 1
        if runs <= MAX_UNREADABLE_RUNS:
            return EXIT_NO_ROOM
        if runs > MAX_UNREADABLE_RUNS + 1:
            return await echo(runner)
        leave_a_hot_journal(runner.files.outbound_db)
        return 1

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            await until(lambda: any(sent.message.text == "echo: hi" for sent in running.channel.delivered))
            return [sent.message.text for sent in running.channel.delivered]

    assert asyncio.run(scenario())[-1] == "echo: hi"
    assert set_aside_before(instance.places.home / "sessions") == []


@pytest.mark.invariant(number=12)
def test_people_are_informed_of_each_refusal(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """People read plain words and a reference; the log has cause and remedy under that reference."""
    readiness = Readiness(ready=False, isolates=False, detail="no engine", remedy="Install one.")

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(readiness=readiness)) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            await running.channel.say("still there?")
            return await running.channel.texts(2)

    sentences = {
        "The agent cannot be started right now",
        "Your message is kept and will be answered once this is fixed",
    }
    for text in asyncio.run(scenario()):
        plain, _, reference = text.partition(f". {REFERENCE_HINT} ")
        assert set(plain.split(". ")) == sentences
        (logged,) = [record for record in caplog.records if getattr(record, "correlation", "") == reference.rstrip(".")]
        assert "no engine. Install one." in vars(logged)["reason"]
    assert statuses(instance) == [("pending", 0), ("pending", 0)]


def test_refusal_is_sent_as_failure_and_message_is_kept(instance: Instance) -> None:
    """People read the friendly text of the refusal, and the message is answered later."""

    async def scenario() -> tuple[list[str], list[bool]]:
        async with running_host(instance) as running:
            running.runtime.troubles = [SandboxRefused("image: missing. Run it.", for_people="No agent today.")]
            await running.channel.say("hi")
            await running.channel.texts(1)
            await running.host.components.sweeper.once()
            texts = await running.channel.texts(2)
            return texts, [sent.message.is_failure for sent in running.channel.delivered]

    (notice, answer), failures = asyncio.run(scenario())
    assert notice.startswith("No agent today. Your message is kept and will be answered once this is fixed. ")
    assert "image" not in notice
    assert (answer, failures) == ("echo: hi", [True, False])


@pytest.mark.defect(number=24)
def test_next_host_finds_unfinished_work_after_a_kill(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    command = [sys.executable, "-c", HOST_PROCESS, str(instance.places.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "a sandbox runs\n"
        host.kill()
    assert due_at(instance) is not None
    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.defect(number=27)
def test_fully_answered_session_is_not_due(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)

    asyncio.run(scenario())
    assert due_at(instance) is None
    assert statuses(instance) == [("completed", 0)]


@pytest.mark.defect(number=25)
def test_next_runner_repairs_an_interrupted_write(instance: Instance) -> None:
    """A hot journal lies beside outbound.db: the host cannot read the file and must not repair it."""
    runs = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal runs
        runs += 1
        if runs > 1:
            return await echo(runner)
        runner.answer(await runner.take(), "first")
        await asyncio.sleep(0)
        leave_a_hot_journal(runner.files.outbound_db)
        raise RuntimeError("killed")

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            await until(lambda: runs == 2)
            await running.channel.say("more")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["first", "echo: more"]


@pytest.mark.defect(number=25)
def test_killed_runners_do_not_quarantine_a_session(
    instance: Instance,
) -> None:
    runs = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal runs
        runs += 1
        if runs > MAX_UNREADABLE_RUNS + 1:
            return await echo(runner)
        leave_a_hot_journal(runner.files.outbound_db)
        return -9

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            return await running.channel.texts(2)

    notice, answer = asyncio.run(scenario())
    assert (notice.startswith(NOT_NOW), answer) == (True, "echo: hi")
    assert set_aside_before(instance.places.home / "sessions") == []


def test_wait_for_a_runtime_is_shown_and_logged(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    class Hanging(ScriptedRuntime):
        async def reap(self) -> int:
            await answered.wait()
            return 0

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=Hanging()) as running:
            await running.channel.say("hi")
            await running.channel.status("stopping sandboxes of the previous host")
            await until(lambda: "no sandbox starts before this runtime has answered" in caplog.messages)
            assert running.channel.delivered == []
            answered.set()
            return await running.channel.texts(1)

    answered = asyncio.Event()
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
            (instance.places.home / "sessions" / session.id).rename(instance.places.home / "away")
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


def leave_a_hot_journal(path: Path) -> None:
    """Leave the state of a kill during a commit: pages are written, and the journal still exists."""
    pid = os.fork()
    if pid == 0:
        db = apsw.Connection(str(path))
        db.pragma("journal_mode", "persist")
        db.pragma("cache_size", 5)
        db.execute("BEGIN IMMEDIATE")
        for number in range(400):
            db.execute("INSERT INTO session_state VALUES (?, ?, 'now')", (f"k{number}", "x" * 4000))
        os._exit(9)
    os.waitpid(pid, 0)


@pytest.mark.defect(number=25)
def test_session_of_another_version_does_not_stop_others(instance: Instance) -> None:
    instance.wire(room="other")

    async def first() -> None:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)

    async def second() -> list[str]:
        async with running_host(instance) as running:
            with pytest.raises(Exception, match="could not be stored"):
                await running.channel.say("hi")
            await running.channel.say("hello", room="other")
            return await running.channel.texts(1)

    asyncio.run(first())
    of_another_version(session_directory(instance) / "in" / "inbound.db")
    assert asyncio.run(second()) == ["echo: hello"]


@pytest.mark.defect(number=28)
def test_late_answer_to_a_tool_wakes_no_sandbox(instance: Instance) -> None:
    async def first() -> None:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)

    async def second() -> int:
        async with running_host(instance) as running:
            await running.host.components.ready.wait()
            return len(running.runtime.specs)

    asyncio.run(first())
    db = session_files.open_writable(session_directory(instance) / "in" / "inbound.db")
    late = inbound.NewInbound(id="late", kind=inbound.Kind.SYSTEM, at="2026-01-01T00:00:00.000Z", content="{}")
    inbound.append(db, [late])
    assert inbound.waiting(db, "2026-01-02T00:00:00.000Z") == []
    db.close()
    assert asyncio.run(second()) == 0


@pytest.mark.defect(number=32)
def test_provider_of_a_session_reaches_the_runner(instance: Instance) -> None:
    other = ScriptedRuntime(provider="other")

    class Providers:
        nanoclaw_providers = other.nanoclaw_providers

    async def scenario() -> list[str]:
        async with running_host(instance, others=Providers()) as running:
            providers = []
            for count in (1, 2):
                await running.channel.say("hi")
                await running.channel.texts(count)
                path = session_directory(instance) / "in" / "config.json"
                providers.append(config.read_config(path.read_text()).provider)
                (session,) = instance.sessions()
                instance.db.execute("UPDATE sessions SET provider = 'other' WHERE id = ?", (session.id,))
                await running.runtime.sandboxes[-1].kill()
            return providers

    assert asyncio.run(scenario()) == ["scripted", "other"]


@pytest.mark.defect(number=45)
def test_second_host_beside_a_running_one_is_refused(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance):
            with pytest.raises(AlreadyRunning, match="another host"):
                async with Host(instance.settings, environment={}, use_installed_plugins=False):
                    pass

    asyncio.run(scenario())


class LateReading(ScriptedRuntime):
    """A runtime with sandboxes that read their inbox again while they stop; `last_reads` has the texts."""

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


@pytest.mark.invariant(number=6)
def test_sandbox_mounts_in_read_only_and_out_writable(
    instance: Instance,
) -> None:
    async def scenario() -> dict[str, bool]:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            return {mount.target: mount.writable for mount in running.runtime.specs[0].mounts}

    assert asyncio.run(scenario()) == {"/workspace/in": False, "/workspace/out": True, "/workspace/agent": True}


def test_host_environment_does_not_reach_the_sandbox(instance: Instance) -> None:
    async def scenario() -> set[str]:
        channel, runtime = RecorderChannel(), ScriptedRuntime()
        own = {"recorder": channel, "scripted": runtime}
        environment = {"ANTHROPIC_API_KEY": "sk-secret"}
        async with Host(instance.settings, plugins=own, environment=environment, use_installed_plugins=False):
            await channel.say("hi")
            await channel.texts(1)
            return set(runtime.specs[0].environment)

    names = asyncio.run(scenario())
    assert all(name.startswith("NANOCLAW_") or name == "LANG" for name in names)


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


def test_stop_leaves_unanswered_messages_for_the_next_host(instance: Instance) -> None:
    async def never(runner: FakeRunner) -> int:
        await runner.take()
        await asyncio.Event().wait()
        return 0

    async def scenario() -> ScriptedRuntime:
        async with running_host(instance, runtime=ScriptedRuntime(never)) as running:
            await running.channel.say("hi")
            await until(lambda: running.runtime.sandboxes)
        return running.runtime

    runtime = asyncio.run(scenario())
    assert len(runtime.sandboxes) == 1
    assert statuses(instance) == [("pending", 0)]


def test_limits_and_runtime_of_an_agent_are_applied(instance: Instance) -> None:
    group = instance.group()
    changed = evolve(agents.config_of(instance.db, group.id), limits={"memory_mb": 256}, runtime="scripted")
    agents.save_config(instance.db, changed)

    async def scenario() -> int:
        async with running_host(instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(1)
            return running.runtime.specs[0].limits.memory_bytes

    assert asyncio.run(scenario()) == 256 * 1024 * 1024


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
