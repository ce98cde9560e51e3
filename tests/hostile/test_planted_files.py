"""Links, pipes and devices that a sandbox plants in its session.

The host reads and changes nothing outside (I6).

The places are those of `out/` (`docs/wire.md`, Directories). `in/` is mounted read-only, and the host reads nothing in
the agent's folder.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import field, frozen
from hostile_sandbox import HONEST, AttackedHost, ring_and_hang
from nanoclaw_wire.socket_path import short_path

from nanoclaw_core import OutboundFile
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

SECRET = b"the host's own secret"
MAX_LINES = 4  # log lines about one session


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, short_path(path) as short:
        listener.bind(short)


def device(path: Path) -> None:
    try:
        os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero, which has no end
    except PermissionError:
        pytest.skip("only root can create devices")


def full_directory(path: Path) -> None:
    path.mkdir()
    for number in range(200):
        (path / f"{number}").touch()


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "a link to a file": lambda path, outside: path.symlink_to(outside / "a.txt"),
    "a link to a directory": lambda path, outside: path.symlink_to(outside),
    "a link to a missing file": lambda path, outside: path.symlink_to(outside / "made"),
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
# The next runner opens these files too; in this test it would do so in the test's own process.
READ_BY_THE_RUNNER = ("outbound.db", "outbound.db-journal", "outbound.db-wal")


def put(path: Path, kind: str, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    KINDS[kind](path, outside)


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return the mode, the owner and the content of each file below a directory."""
    entries = [(path, path.lstat()) for path in sorted(directory.rglob("*"))]
    return {
        str(path): (status.st_mode, status.st_uid, path.read_bytes() if path.is_file() else b"")
        for path, status in entries
    }


@frozen
class Attackers:
    """One attacker for each kind of planted file, all in the same place, and an honest session."""

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
    """An instance with a slot for every sandbox, because each hangs after its attack, and the slot of the owners."""
    made = make_instance(tmp_path / "home", start_pauses_s=[0.01], max_sandboxes=len(KINDS) + 2)
    yield made
    made.db.close()


@pytest.mark.invariant(number=6)
@pytest.mark.parametrize("place", PLACES)
def test_planted_files_never_reach_outside_the_session(
    instance: Instance, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The honest session and the next host go on."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("a.txt", "outbound.db"):
        (outside / name).write_bytes(SECRET)
    before, attackers = snapshot(outside), Attackers(place, outside)
    attackers.wire(instance)

    async def this_host() -> list[OutboundFile]:
        async with running_host(instance, runtime=ScriptedRuntime(attackers.script)) as running:
            host = AttackedHost(running)
            await host.honest_answer("before")
            for kind in KINDS:
                await running.channel.say("hi", room=kind, sender=kind)  # one person may not hold all slots
            await until(lambda: attackers.done == set(KINDS))
            await host.honest_answer("meanwhile")
            await running.host.components.sweeper.once()
            await host.honest_answer("after")
            return [file for sent in running.channel.delivered for file in sent.message.files]

    async def next_host() -> None:
        async with running_host(instance) as running:
            for room in (HONEST, *KINDS):
                await running.channel.say("again", room=room)
            for room in (HONEST, *KINDS):
                await AttackedHost(running).text_in(room, "again")

    files = asyncio.run(this_host())
    lines = [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    if place not in READ_BY_THE_RUNNER:
        asyncio.run(next_host())
    assert all(file.content == b"mine" for file in files)
    assert snapshot(outside) == before
    assert len(lines) <= MAX_LINES * len(KINDS), lines
