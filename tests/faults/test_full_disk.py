"""A full disk: the host accepts no message that it cannot store, and loses none that it accepted (I3, I4).

The tests mount a small tmpfs over one directory of the instance, which requires root.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import clock, outbound
from nanoclaw_wire.outbound import AckStatus
from simulated_time import simulated_time

from nanoclaw_core import Attachment, NanoclawError, SandboxFailed
from nanoclaw_core.sandboxes.notices import NOT_NOW
from nanoclaw_core.sandboxes.supervisor import MAX_UNREADABLE_RUNS
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance, quarantined_sessions
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo
from nanoclaw_core.timing import Timing

Mounting = Callable[[Path], "SmallDisk"]


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, path: Path) -> None:
        self._filler = path / "filler"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Fill the file system up to `leave_bytes` free bytes."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (65_536, 4_096, 1):
                while True:
                    try:
                        file.write(b"x" * size)
                    except OSError:
                        break
            file.truncate(file.tell() - leave_bytes)

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def small_disk() -> Iterator[Mounting]:
    mounted: list[Path] = []

    def mount(path: Path) -> SmallDisk:
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            reason = f"needs the right to mount a file system: {result.stderr.strip()}"
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                pytest.fail(reason)
            pytest.skip(reason)
        mounted.append(path)
        return SmallDisk(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def instance_at(home: Path) -> Iterator[Instance]:
    made = make_instance(home, start_pauses_s=[0.01], retry_pause_s=0.01)
    made.wire()
    try:
        yield made
    finally:
        made.db.close()


@pytest.mark.invariant(number=3)
def test_message_for_full_disk_is_not_accepted(tmp_path: Path, small_disk: Mounting) -> None:
    """When the disk has room again, the next message is answered."""
    disk = small_disk(tmp_path / "home" / "sessions")

    async def scenario(instance: Instance) -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("before")
            await running.channel.texts(1)
            disk.fill()
            with pytest.raises(NanoclawError, match="could not be stored"):
                await running.channel.say("x" * 100_000)
            disk.make_room()
            await running.channel.say("after")
            return await running.channel.texts(2)

    with instance_at(tmp_path / "home") as instance:
        assert asyncio.run(scenario(instance)) == ["echo: before", "echo: after"]
        assert quarantined_sessions(instance.paths.home / "sessions") == []


@pytest.mark.invariant(number=3)
def test_message_whose_file_does_not_fit_is_not_accepted(tmp_path: Path, small_disk: Mounting) -> None:
    """When the disk has room, the platform offers the message again.

    The host stores its whole file.
    """
    disk = small_disk(tmp_path / "home" / "sessions")
    file = Attachment(name="a.txt", content=b"x" * 200_000)

    async def scenario(instance: Instance) -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("before")
            await running.channel.texts(1)
            disk.fill(leave_bytes=120_000)
            with pytest.raises(NanoclawError, match="No space left"):
                await running.channel.say("file", message_id="p-1", attachments=[file])
            assert list((instance.paths.home / "sessions").glob("*/in/inbox/*/*")) == []
            disk.make_room()
            await running.channel.say("file", message_id="p-1", attachments=[file])
            return await running.channel.texts(2)

    with instance_at(tmp_path / "home") as instance:
        assert asyncio.run(scenario(instance)) == ["echo: before", "echo: file"]
        (stored,) = (instance.paths.home / "sessions").glob("*/in/inbox/*/a.txt")
        assert stored.read_bytes() == file.content


@pytest.mark.invariant(number=4)
def test_answer_that_did_not_fit_is_sent_later(tmp_path: Path, small_disk: Mounting) -> None:
    """The sandbox fails on a full disk.

    When the disk has room, the next sandbox answers.
    """
    disk = small_disk(tmp_path / "home" / "sessions")
    has_filled = False

    async def fills_disk(runner: FakeRunner) -> int:
        nonlocal has_filled
        if not has_filled:
            has_filled = True
            messages = await runner.take()
            disk.fill()
            with pytest.raises(apsw.FullError):
                runner.answer(messages, "x" * 300_000)
            return 1
        return await echo(runner)

    async def scenario(instance: Instance) -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(fills_disk)) as running:
            await running.channel.say("hi")
            (told,) = await running.channel.texts(1)
            assert "cannot be started right now" in told
            disk.make_room()
            return await running.channel.texts(2)

    with instance_at(tmp_path / "home") as instance:
        assert asyncio.run(scenario(instance))[1] == "echo: hi"
        assert quarantined_sessions(instance.paths.home / "sessions") == []


@pytest.mark.invariant(number=4)
def test_full_disk_under_central_database_loses_nothing(tmp_path: Path, small_disk: Mounting) -> None:
    """Each accepted message is answered once and in order, when the disk has room."""
    disk = small_disk(tmp_path / "home" / "data")

    async def scenario(instance: Instance) -> list[str]:
        accepted = []
        async with running_host(instance) as running:
            await running.channel.say("before")
            await running.channel.texts(1)
            disk.fill()
            for number in range(200):
                with contextlib.suppress(
                    NanoclawError, apsw.Error
                ):  # the platform sees that the host did not accept it
                    await running.channel.say(f"m-{number}", message_id=f"p-{number}")
                    accepted.append(number)
            disk.make_room()
            await running.channel.say("after")
            await until(lambda: running.channel.delivered[-1].message.text.endswith("after"))
            said = " | ".join(sent.message.text.removeprefix("echo: ") for sent in running.channel.delivered).split(
                " | "
            )
            assert said == ["before", *(f"m-{number}" for number in accepted), "after"]
            return said

    with instance_at(tmp_path / "home") as instance:
        asyncio.run(scenario(instance))
        assert {status for (status,) in instance.db.execute("SELECT status FROM deliveries")} == {"sent"}
        assert instance.db.execute("PRAGMA integrity_check").get == "ok"


@contextmanager
def refusing_writes(running: Running) -> Iterator[None]:
    """Make the host's central database refuse every write, as if its file system were read-only."""
    db = running.host.components.db
    db.pragma("query_only", 1)
    try:
        yield
    finally:
        db.pragma("query_only", 0)


@contextmanager
def without_pages(running: Running) -> Iterator[None]:
    """Give the host's central database no further page, so that a statement fails inside its transaction."""
    db = running.host.components.db
    unlimited = db.pragma("max_page_count")
    db.pragma("max_page_count", 1)  # SQLite keeps the existing pages
    try:
        yield
    finally:
        db.pragma("max_page_count", unlimited)


async def logged(caplog: pytest.LogCaptureFixture, message: str) -> None:
    """Wait until the log contains a message."""
    await until(lambda: message in caplog.messages)


@pytest.mark.parametrize("refuses", [refusing_writes, without_pages])
def test_answer_waits_for_the_central_database(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refuses: Callable[[Running], AbstractContextManager[None]],
) -> None:
    """The host retries the import after seconds, and does not suspect the session's files."""
    text = "x" * 100_000  # needs pages of its own

    async def script(runner: FakeRunner) -> int:
        runner.answer(await runner.take(), text)
        return await echo(runner)

    async def scenario(instance: Instance) -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            with refuses(running):
                await logged(caplog, "central database refuses writes")
            return await running.channel.texts(1)

    with simulated_time(monkeypatch) as loop, instance_at(tmp_path / "home") as instance:
        assert loop.run_until_complete(scenario(instance)) == [text]
        assert "session files cannot be read" not in caplog.messages
        assert loop.skipped_s < Timing().sweep_s


def test_sandbox_that_ended_waits_for_the_central_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The host records the last messages and acknowledgements of a sandbox before it starts the next one."""

    async def script(runner: FakeRunner) -> int:
        runner.answer(await runner.take(), "an answer")
        return 0

    async def scenario(instance: Instance) -> int:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            with refusing_writes(running):
                await logged(caplog, "central database refuses writes")
                await asyncio.sleep((MAX_UNREADABLE_RUNS + 2) * Timing().store_retry_s)
            assert await running.channel.texts(1) == ["an answer"]
            await until(lambda: not running.host.components.supervisor.running)
            return len(running.runtime.sandboxes)

    with simulated_time(monkeypatch) as loop, instance_at(tmp_path / "home") as instance:
        assert loop.run_until_complete(scenario(instance)) == 1
        assert quarantined_sessions(instance.paths.home / "sessions") == []


def test_acknowledgement_waits_for_the_central_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The host starts no further sandbox until the central database records the acknowledgements of the last."""

    async def script(runner: FakeRunner) -> int:
        completed = [(message.id, AckStatus.COMPLETED) for message in await runner.take()]
        outbound.write(runner.written, now=clock.now_text(), acknowledge=completed)
        return 0

    async def scenario(instance: Instance) -> tuple[int, list[str]]:
        async with running_host(instance, runtime=ScriptedRuntime(script)) as running:
            await running.channel.say("hi")
            with refusing_writes(running):
                await until(lambda: any(getattr(record, "work", "") == "record sandboxes" for record in caplog.records))
            await until(lambda: instance.db.execute("SELECT due_at FROM sessions").get is None)
            return len(running.runtime.sandboxes), caplog.messages

    with simulated_time(monkeypatch) as loop, instance_at(tmp_path / "home") as instance:
        lives, said = loop.run_until_complete(scenario(instance))
    assert (lives, "results of the sandbox cannot be recorded" in said) == (1, False)


def test_failure_notice_waits_for_the_central_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The session's task survives if it cannot store its notice.

    It continues, and sends the notice later.
    """

    async def scenario(instance: Instance) -> list[str]:
        async with running_host(instance) as running:
            running.runtime.troubles = [SandboxFailed("engine down")] * 1_000
            await running.channel.say("hi")
            with refusing_writes(running):
                await logged(caplog, "notice could not be sent")
            await running.channel.texts(1)
            running.runtime.troubles.clear()
            return await running.channel.texts(2)

    with simulated_time(monkeypatch) as loop, instance_at(tmp_path / "home") as instance:
        told, answer = loop.run_until_complete(scenario(instance))
    assert (told.startswith(NOT_NOW), answer) == (True, "echo: hi")
