"""Undamaged session files that the host cannot read or a runner cannot write."""

import asyncio
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from instance_state import message_statuses, session_directory
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM

from nanoclaw_core.sandboxes.health import MAX_TRIES
from nanoclaw_core.sandboxes.notices import NOT_NOW
from nanoclaw_core.sandboxes.supervisor import MAX_UNREADABLE_RUNS
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, quarantined_sessions
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

KILLED_WRITER = """
import os, sys, apsw
db = apsw.Connection(sys.argv[1])
db.pragma("journal_mode", "persist")
db.pragma("cache_size", 5)
db.execute("BEGIN IMMEDIATE")
for number in range(400):
    db.execute("INSERT INTO session_state VALUES (?, ?, 'now')", (f"k{number}", "x" * 4000))
os._exit(9)
"""


def of_another_version(path: Path) -> None:
    """Give a session file another version, so that this host cannot read it but does not call it damaged."""
    db = apsw.Connection(str(path))
    db.pragma("user_version", 99)
    db.close()


def test_runner_with_a_full_disk_counts_no_try(instance: Instance) -> None:
    """A runner that meets a full disk is restarted until it works.

    No message is given up.
    """
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
    assert message_statuses(instance) == [("completed", 0)]
    assert quarantined_sessions(instance.paths.home / "sessions") == []


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
    assert quarantined_sessions(instance.paths.home / "sessions") == []


@pytest.mark.defect(number=25)
def test_next_runner_repairs_an_interrupted_write(instance: Instance) -> None:
    """A hot journal lies beside outbound.db.

    The host cannot read the file and must not repair it.
    """
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
def test_killed_runners_do_not_quarantine_a_session(instance: Instance) -> None:
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
    assert quarantined_sessions(instance.paths.home / "sessions") == []


def leave_a_hot_journal(path: Path) -> None:
    """Leave the state of a kill during a commit: pages are written, and the journal still exists.

    A process of its own, because a fork of a process with threads can wait for a lock for ever.
    """
    done = subprocess.run([sys.executable, "-c", KILLED_WRITER, path], check=False)
    assert done.returncode == 9


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
