"""Unfinished work of a host that stopped or was killed, as the next host finds it."""

import asyncio
import subprocess
import sys

import pytest
from instance_state import due_at, message_statuses, session_directory
from nanoclaw_wire import inbound, session_files

from nanoclaw_core import AlreadyRunning, Host
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import ScriptedRuntime, unanswering

HOST_PROCESS = """
import asyncio
import sys
from pathlib import Path

from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import make_instance
from nanoclaw_core.testing.scripted import ScriptedRuntime, silent

async def main():
    async with running_host(make_instance(Path(sys.argv[1])), runtime=ScriptedRuntime(silent)) as running:
        await running.channel.say("hi")
        await until(lambda: running.runtime.specs)
        print("a sandbox runs", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.defect(number=24)
def test_next_host_finds_unfinished_work_after_a_kill(instance: Instance) -> None:
    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    command = [sys.executable, "-c", HOST_PROCESS, str(instance.paths.home)]
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
    assert message_statuses(instance) == [("completed", 0)]


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


@pytest.mark.defect(number=45)
def test_second_host_beside_a_running_one_is_refused(instance: Instance) -> None:
    async def scenario() -> None:
        async with running_host(instance):
            with pytest.raises(AlreadyRunning, match="another host"):
                async with Host(instance.settings, environment={}, use_installed_plugins=False):
                    pass

    asyncio.run(scenario())


def test_stop_leaves_unanswered_messages_for_the_next_host(instance: Instance) -> None:
    async def scenario() -> ScriptedRuntime:
        async with running_host(instance, runtime=ScriptedRuntime(unanswering)) as running:
            await running.channel.say("hi")
            await until(lambda: running.runtime.sandboxes)
        return running.runtime

    runtime = asyncio.run(scenario())
    assert len(runtime.sandboxes) == 1
    assert message_statuses(instance) == [("pending", 0)]
