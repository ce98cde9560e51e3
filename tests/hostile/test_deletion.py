"""Deletion of trees that a sandbox wrote: complete, and never on the event loop (audit A1)."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import nanoclaw_resource_sessions.host as sessions
import pytest
from hostile_sandbox import ATTACKER, attacked_host
from nanoclaw_wire.untrusted_trees import empty_directory

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import open_root
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner
from nanoclaw_core.timing import Timing

pytestmark = pytest.mark.invariant(number=14)
DEPTH = 1_100  # beyond Python's limit of recursion, and beyond the system's limit of paths
FILES = 20_000
SEEN = 10  # numbers of remaining files that a task sees during a removal; only two during one on the event loop


@pytest.fixture(autouse=True)
def _leaves_no_tree(tmp_path: Path) -> Iterator[None]:
    """Remove the trees of a failed test, because pytest cannot remove a deep one."""
    yield
    empty_directory(tmp_path)


def make_deep(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("nested", dir_fd=folder)
        inner = os.open("nested", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)


def make_wide(path: Path) -> None:
    """Make many files, as hard links of one, because these are cheap."""
    folder = os.open(path, os.O_RDONLY)
    os.close(os.open("0", os.O_CREAT, dir_fd=folder))
    for number in range(1, FILES):
        os.link("0", str(number), src_dir_fd=folder, dst_dir_fd=folder)
    os.close(folder)


def trash_of(instance: Instance) -> Path:
    return instance.paths.sessions / ".trash"


def is_empty(trash: Path) -> bool:
    return not trash.exists() or not os.listdir(trash)


async def closed_session(running: Running) -> SessionId:
    """Let the agent answer once, and close the session."""
    await running.channel.say("hi")
    await running.channel.texts(1)
    (session,) = running.instance.sessions()
    assert (await running.ask("sessions", "close", id=session.id))["ok"]
    return session.id


async def delete(running: Running, session_id: SessionId) -> None:
    """Delete a session, and wait until its files are gone."""
    assert (await running.ask("sessions", "delete", id=session_id))["ok"]
    await running.host.components.directories.trash.empty()
    assert not (running.instance.paths.sessions / session_id).exists()
    assert is_empty(trash_of(running.instance))
    assert not running.instance.db.execute("SELECT 1 FROM sessions WHERE id = ?", (session_id,)).fetchall()


def test_deep_session_is_removed(instance: Instance) -> None:
    instance.wire()

    async def scenario() -> None:
        async with running_host(instance, sessions=sessions) as running:
            session_id = await closed_session(running)
            make_deep(instance.paths.sessions / session_id / "out" / "state")
            await delete(running, session_id)

    asyncio.run(scenario())


def test_event_loop_runs_while_a_session_is_removed(instance: Instance) -> None:
    """A task counts the remaining files all the time."""
    instance.wire()
    seen = set()

    async def count(file: BinaryIO) -> None:
        while True:
            seen.add(os.fstat(file.fileno()).st_nlink)
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with running_host(instance, sessions=sessions) as running:
            session_id = await closed_session(running)
            state = instance.paths.sessions / session_id / "out" / "state"
            make_wide(state)
            with (state / "0").open("rb") as file:
                counter = asyncio.create_task(count(file))
                await delete(running, session_id)
                counter.cancel()

    asyncio.run(scenario())
    assert max(seen) == FILES
    assert len(seen) > SEEN


def test_next_host_continues_a_removal(instance: Instance) -> None:
    """A host was killed after it had moved the files aside, and before it deleted the row."""
    instance.wire()

    async def first() -> SessionId:
        async with running_host(instance, sessions=sessions) as running:
            return await closed_session(running)

    async def second(session_id: SessionId) -> None:
        async with running_host(instance, sessions=sessions) as running:
            await until(lambda: is_empty(trash_of(instance)))
            answer = await running.ask("sessions", "delete", id=session_id)
            assert answer["data"] == {"deleted": session_id, "files": "removed"}

    session_id = asyncio.run(first())
    open_root(instance.paths.home).discard(session_id)
    assert not is_empty(trash_of(instance))
    asyncio.run(second(session_id))


def test_unfinished_removal_is_not_called_removed(instance: Instance) -> None:
    """The host stops meanwhile."""
    instance.wire()

    async def scenario() -> None:
        async with running_host(instance, sessions=sessions) as running:
            session_id = await closed_session(running)
            await running.host.components.directories.trash.close()
            answer = await running.ask("sessions", "delete", id=session_id)
            assert answer["data"] == {"deleted": session_id, "files": "being removed"}

    asyncio.run(scenario())


def test_delete_removes_quarantined_files_too(instance: Instance) -> None:
    instance.wire()

    async def scenario() -> None:
        async with running_host(instance, sessions=sessions) as running:
            session_id = await closed_session(running)
            quarantined = instance.paths.sessions / f"{session_id}.broken-20260105T120000Z"
            quarantined.mkdir()
            await running.ask("sessions", "delete", id=session_id)
            assert not quarantined.exists()

    asyncio.run(scenario())


def test_outbox_folder_of_any_shape_is_removed(instance: Instance) -> None:
    """The folder of a sent message holds more than the message named, also folders and links."""
    outside = instance.paths.home / "outside"
    outside.mkdir()
    (outside / "file").touch()

    async def attack(runner: FakeRunner) -> None:
        folder = runner.files.outbox / f"{runner.spec.name}-1"
        folder.mkdir()
        for number in range(60):
            (folder / str(number)).write_text("more")
        (folder / "inner").mkdir()
        (folder / "inner" / "link").symlink_to(outside)
        message = runner.write({"text": "take this", "files": ["1"]}, channel="recorder", room=ATTACKER)
        assert message.id == folder.name

    async def scenario() -> None:
        async with attacked_host(instance, attack, timing=Timing(sweep_s=0.01)) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "take this")
            await until(lambda: trash_of(instance).exists() and is_empty(trash_of(instance)))
            assert not list(instance.paths.sessions.glob("*/out/outbox/*"))

    asyncio.run(scenario())
    assert (outside / "file").exists()
