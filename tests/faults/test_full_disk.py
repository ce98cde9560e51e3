"""A disk that is full (I3, I4): what cannot be stored is not accepted, what was accepted is not lost.

A small tmpfs is mounted in the place of one directory of the instance; that takes root.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from nanoclaw_core import NanoclawError
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance, set_aside_before
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

Mounting = Callable[[Path], "SmallDisk"]


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, path: Path) -> None:
        self._filler = path / "filler"

    def fill(self) -> None:
        """Take the last byte."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (65_536, 4_096, 1):
                while True:
                    try:
                        file.write(b"x" * size)
                    except OSError:
                        break

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def small_disk() -> Iterator[Mounting]:
    mounted: list[Path] = []

    def mount(path: Path) -> SmallDisk:
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = f"a small file system takes the right to mount one: {done.stderr.strip()}"
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


def test_invariant_03_a_message_for_a_full_disk_is_not_accepted_and_the_next_is_answered_when_there_is_room(
    tmp_path: Path, small_disk: Mounting
) -> None:
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
        assert set_aside_before(instance.places.home / "sessions") == []


def test_invariant_04_an_answer_that_did_not_fit_is_given_when_there_is_room(
    tmp_path: Path, small_disk: Mounting
) -> None:
    disk = small_disk(tmp_path / "home" / "sessions")
    has_filled = False

    async def fills(runner: FakeRunner) -> int:
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
        async with running_host(instance, runtime=ScriptedRuntime(fills)) as running:
            await running.channel.say("hi")
            (told,) = await running.channel.texts(1)
            assert "cannot be started right now" in told
            disk.make_room()
            return await running.channel.texts(2)

    with instance_at(tmp_path / "home") as instance:
        assert asyncio.run(scenario(instance))[1] == "echo: hi"
        assert set_aside_before(instance.places.home / "sessions") == []


def test_invariant_04_a_full_disk_under_the_central_database_delays_and_loses_nothing(
    tmp_path: Path, small_disk: Mounting
) -> None:
    disk = small_disk(tmp_path / "home" / "data")

    async def scenario(instance: Instance) -> list[str]:
        accepted = []
        async with running_host(instance) as running:
            await running.channel.say("before")
            await running.channel.texts(1)
            disk.fill()
            for number in range(200):
                with contextlib.suppress(NanoclawError, apsw.Error):  # the platform hears that nobody took it
                    await running.channel.say(f"m-{number}", message_id=f"p-{number}")
                    accepted.append(number)
            disk.make_room()
            await running.channel.say("after")
            await until(lambda: running.channel.delivered[-1].message.text.endswith("after"))
            said = " | ".join(one.message.text.removeprefix("echo: ") for one in running.channel.delivered).split(" | ")
            assert said == ["before", *(f"m-{number}" for number in accepted), "after"]
            return said

    with instance_at(tmp_path / "home") as instance:
        asyncio.run(scenario(instance))
        assert {status for (status,) in instance.db.execute("SELECT status FROM deliveries")} == {"sent"}
        assert instance.db.execute("PRAGMA integrity_check").get == "ok"
