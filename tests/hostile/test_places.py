"""Whatever a sandbox plants in any place that the host reads or writes: nothing outside is read or touched (I6).

The places are those of `out/` (`docs/wire.md`, Directories). `in/` is mounted read-only, and of the agent's folder the
host reads nothing.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import field, frozen
from nanoclaw_wire.socket_path import short_path
from villainy import HONEST, Scene, ring_and_hang

from nanoclaw_core import OutboundFile
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

SECRET = b"the host's own secret"
LINES_AT_MOST = 4  # of the log, about one session


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, short_path(path) as short:
        listener.bind(short)


def device(path: Path) -> None:
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero, which has no end
    except PermissionError:
        pytest.skip("devices are made by root")


def full_directory(path: Path) -> None:
    path.mkdir()
    for number in range(200):
        (path / f"{number}").touch()


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "a link to a file": lambda path, outside: path.symlink_to(outside / "a.txt"),
    "a link to a directory": lambda path, outside: path.symlink_to(outside),
    "a link to what could be made": lambda path, outside: path.symlink_to(outside / "made"),
    "a link to itself": lambda path, _outside: path.symlink_to(path),
    "a second name": lambda path, outside: os.link(outside / "a.txt", path),
    "a pipe": lambda path, _outside: os.mkfifo(path),
    "a socket": lambda path, _outside: listen(path),
    "a device": lambda path, _outside: device(path),
    "a full directory": lambda path, _outside: full_directory(path),
    "nothing": lambda _path, _outside: None,
}
PLACES = [
    "outbound.db", "outbound.db-journal", "outbound.db-wal", "outbox", "outbox/MESSAGE", "outbox/MESSAGE/a.txt",
    "heartbeat", "state", "runner.log",
]  # fmt: skip
# What the next runner opens, too, and here it would do so in this process.
OF_THE_RUNNER = ("outbound.db", "outbound.db-journal", "outbound.db-wal")


def put(path: Path, kind: str, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    KINDS[kind](path, outside)


def what_is(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what is below a directory: mode, owner and bytes."""
    found = [(one, one.lstat()) for one in sorted(path.rglob("*"))]
    return {
        str(one): (status.st_mode, status.st_uid, one.read_bytes() if one.is_file() else b"") for one, status in found
    }


@frozen
class Village:
    """One sandbox for each kind of crime, all in the same place, and an honest one."""

    place: str
    outside: Path
    done: set[str] = field(factory=set)

    def wire(self, instance: Instance) -> None:
        for room in (HONEST, *KINDS):
            instance.wire(room=room, folder=room.replace(" ", "-"))

    async def script(self, runner: FakeRunner) -> int:
        kind = next((kind for kind in KINDS if f"-{kind.replace(' ', '-')[:30]}-run" in runner.spec.name), None)
        if kind is None or kind in self.done:
            return await echo(runner)
        await runner.take()
        message_id = f"{runner.spec.name}-1"
        file = runner.files.outbox / message_id / "a.txt"
        file.parent.mkdir()
        file.write_bytes(b"mine")
        runner.write({"text": kind, "files": ["a.txt"]}, channel="recorder", room=kind)
        self.done.add(kind)
        put(runner.files.outgoing / self.place.replace("MESSAGE", message_id), kind, self.outside)
        await ring_and_hang(runner)
        return 0


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """Have a place for every sandbox: each one hangs after its crime."""
    made = make_instance(tmp_path / "home", start_pauses_s=[0.01], max_sandboxes=len(KINDS) + 1)
    yield made
    made.db.close()


@pytest.mark.parametrize("place", PLACES)
def test_invariant_06_whatever_is_planted_in_a_place_nothing_outside_is_read_or_touched_and_the_others_go_on(
    instance: Instance, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("a.txt", "outbound.db"):
        (outside / name).write_bytes(SECRET)
    before, village = what_is(outside), Village(place, outside)
    village.wire(instance)

    async def this_host() -> list[OutboundFile]:
        async with running_host(instance, runtime=ScriptedRuntime(village.script)) as running:
            seen = Scene(running)
            await seen.honest_answer("before")
            for kind in KINDS:
                await running.channel.say("hi", room=kind)
            await until(lambda: village.done == set(KINDS))
            await seen.honest_answer("meanwhile")
            await running.host.components.sweeper.once()
            await seen.honest_answer("after")
            return [file for one in running.channel.delivered for file in one.message.files]

    async def next_host() -> None:
        async with running_host(instance) as running:
            for room in (HONEST, *KINDS):
                await running.channel.say("again", room=room)
            for room in (HONEST, *KINDS):
                await Scene(running).text_in(room, "again")

    files = asyncio.run(this_host())
    lines = [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    if place not in OF_THE_RUNNER:
        asyncio.run(next_host())
    assert all(file.content == b"mine" for file in files)
    assert what_is(outside) == before
    assert len(lines) <= LINES_AT_MOST * len(KINDS), lines
