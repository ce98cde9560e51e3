"""The isolation that bubblewrap raises, tried from inside, and the user that sandboxes of a root host run as (C1, S9)."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from nanoclaw_runtime_process.bubblewrap_command import staging_directory
from nanoclaw_runtime_process.bubblewrap_sandbox import LAUNCHER
from nanoclaw_runtime_process.sandbox_user import MAX_USER_ID, MIN_USER_ID, NoUser, choose_user, keep_user, sandbox_user

from nanoclaw_core import DirectoryIdentity, Mount, Readiness, SandboxFailed, SandboxRefused
from nanoclaw_core.testing.runtime_place import Place, new_place
from nanoclaw_core.testing.runtime_scenario import connected, patiently, run

PLUGIN = "nanoclaw_runtime_process.host"
EVERYONE = [range(2**32 - 1)]
OPEN_ALL_OF_PROC = """
found = []
for directory, names, files in os.walk("/proc"):
    names[:] = [name for name in names if name not in ("fd", "map_files", "cwd", "root")]
    for name in files:
        try:
            os.close(os.open(f"{directory}/{name}", os.O_WRONLY | os.O_NONBLOCK))
            found.append(f"{directory}/{name}")
        except OSError:
            pass
answer(found)
"""
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only a root host has another user for its sandboxes")
pytestmark = pytest.mark.invariant(number=6)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path, PLUGIN, {})


@pytest.fixture
def old_bubblewrap() -> Iterator[str]:
    """Make a bubblewrap that does not know --disable-userns, as those before 0.8, where every user may run it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # $TMPDIR may be closed to others
        Path(directory).chmod(0o755)
        program = Path(directory) / "bwrap"
        refusal = "echo 'bwrap: Unknown option --disable-userns' >&2; exit 1"
        program.write_text(
            f"#!/bin/sh\nif grep -qz -- '^--disable-userns$' /proc/self/fd/$2; then {refusal}; fi\nexec bwrap \"$@\"\n"
        )
        program.chmod(0o755)
        yield str(program)


def readiness_of(place: Place) -> Readiness:
    async def scenario() -> Readiness:
        async with connected(place) as runtime:
            return await runtime.check()

    return patiently(scenario())


@pytest.mark.bubblewrap
def test_proc_in_a_sandbox_cannot_be_written(place: Place) -> None:
    """/proc/sys asks for the host's user: a sandbox of a root host could have named a program for root to run."""
    run(place, OPEN_ALL_OF_PROC)
    assert place.answer() == []


@pytest.mark.bubblewrap
def test_user_namespace_in_a_sandbox_is_refused(place: Place) -> None:
    """A namespace of its own gives a sandbox capabilities, and with them more of the kernel to attack."""
    run(place, "import ctypes; answer(ctypes.CDLL(None).unshare(0x10000000))")
    assert place.answer() == -1


@as_root
@pytest.mark.bubblewrap
def test_sandbox_of_a_root_host_is_an_unprivileged_user(place: Place) -> None:
    """What it writes belongs to a user without a name, and root's files are closed to it."""
    (place.incoming / "secret").write_text("of root")
    (place.incoming / "secret").chmod(0o600)
    run(place, "answer(os.access('/workspace/in/secret', os.R_OK))")
    written = (place.outgoing / "answer.json").stat()
    assert MIN_USER_ID <= written.st_uid <= MAX_USER_ID
    assert written.st_gid == written.st_uid
    assert place.answer() is False


@as_root
@pytest.mark.bubblewrap
def test_sandbox_user_is_the_one_of_the_settings(place: Place) -> None:
    """An operator may name a user."""
    place = evolve(place, settings={"run_as": 123_456})
    run(place, "answer(1)")
    assert (place.outgoing / "answer.json").stat().st_uid == 123_456
    assert "sandboxes run as user 123456 of the host" in readiness_of(place).detail


@as_root
@pytest.mark.bubblewrap
@pytest.mark.parametrize("number", [0, -1, 2**32, 2**32 - 2])
def test_sandbox_user_that_cannot_be_is_refused(place: Place, number: int) -> None:
    """Nothing runs as root instead."""
    place = evolve(place, settings={"run_as": number})
    readiness = readiness_of(place)
    assert (readiness.ready, readiness.isolates) == (False, False)
    assert readiness.remedy.startswith("Correct or remove run_as")
    assert f"run_as: must be the number of an unprivileged user of this machine, got {number}" in readiness.detail

    async def scenario() -> None:
        async with connected(place) as runtime:
            for runs_tools in (True, False):
                with pytest.raises(SandboxRefused, match="run_as"):
                    await runtime.start(evolve(place.spec("pass"), runs_tools=runs_tools))

    patiently(scenario())


@as_root
def test_sandbox_user_is_kept(tmp_path: Path) -> None:
    """Files belong to it, so the next host takes the same."""
    first = sandbox_user(None, tmp_path / "run_as", "abcdef012345")
    assert first is not None
    keep_user(tmp_path / "run_as", first + 1)
    assert sandbox_user(None, tmp_path / "run_as", "abcdef012345") == first + 1


@as_root
@pytest.mark.bubblewrap
def test_sandbox_user_with_a_name_is_warned_of(place: Place) -> None:
    """A sandbox that runs as somebody can change what is theirs."""
    assert readiness_of(evolve(place, settings={"run_as": 1})).missing_protections == [
        "run_as is the user daemon of this machine, whose files a sandbox could reach; choose a free number"
    ]


@pytest.mark.bubblewrap
def test_check_writes_nothing(place: Place) -> None:
    """The doctor looks at an instance that may not exist yet."""
    readiness_of(place)
    assert not (place.home / "data").exists()


@as_root
@pytest.mark.bubblewrap
def test_sandbox_user_is_kept_before_files_are_given(place: Place) -> None:
    """The next host takes the user to whom the files belong."""
    run(place, "answer(1)")
    kept = int((place.home / "data/process/run_as").read_text())
    assert (place.outgoing / "answer.json").stat().st_uid == kept


@as_root
@pytest.mark.parametrize("text", ["", "0", "root", "-5", str(2**40)])
def test_sandbox_user_that_was_kept_wrongly_is_replaced(tmp_path: Path, text: str) -> None:
    """A damaged file never makes a sandbox root."""
    (tmp_path / "run_as").write_text(text)
    assert MIN_USER_ID <= (sandbox_user(None, tmp_path / "run_as", "abc") or 0) <= MAX_USER_ID


def test_sandbox_user_goes_round_taken_numbers() -> None:
    """Numbers that rootless containers of other users may have are left to them."""
    assert choose_user(MAX_USER_ID, EVERYONE, [range(MAX_USER_ID, MAX_USER_ID + 1), range(MIN_USER_ID, 300_000)]) == 300_000


@pytest.mark.parametrize(("mapped", "taken"), [([range(65_536)], []), (EVERYONE, [range(2**31)])])
def test_sandbox_user_on_a_full_machine_is_refused(mapped: list[range], taken: list[range]) -> None:
    """A host in a container may have few numbers; it says what to do."""
    with pytest.raises(NoUser, match=r"run_as: no user .* Set it under \[plugins.process\]"):
        choose_user(MIN_USER_ID, mapped, taken)


@pytest.mark.bubblewrap
def test_readiness_names_the_protections_that_hold(place: Place) -> None:
    """The doctor reports what was tried, not what was hoped."""
    readiness = readiness_of(place)
    assert "/proc is read-only, no user namespaces inside" in readiness.detail
    assert ("of the host" in readiness.detail) is (os.getuid() == 0)
    assert not readiness.missing_protections


@pytest.mark.bubblewrap
def test_readiness_names_a_protection_that_is_missing(place: Place, old_bubblewrap: str) -> None:
    """An older bubblewrap isolates, but for one wall."""
    readiness = readiness_of(evolve(place, settings={"bubblewrap": old_bubblewrap}))
    assert readiness.isolates
    assert "no user namespaces inside" not in readiness.detail
    assert readiness.missing_protections == [
        "a sandbox can make user namespaces of its own; bubblewrap 0.8 or later forbids that, so upgrade it"
    ]


@pytest.mark.bubblewrap
def test_mount_under_exchange_never_shows_another(place: Place) -> None:
    """While its name is exchanged without end, a mount is the approved directory or none (audit C3)."""
    approved, secret = place.home / "shared" / "approved", place.home / "secret"
    for directory in (approved, secret):
        directory.mkdir(parents=True)
        (directory / "name").write_text(directory.name)
    (place.home / "shared" / "link").symlink_to(secret)
    found = approved.stat()
    identity = DirectoryIdentity(device=found.st_dev, inode=found.st_ino)
    mount = Mount(source=approved, target="/workspace/extra/x", identity=identity)
    seen = set()
    with exchanging(approved, place.home / "shared" / "link"):
        for number in range(30):
            session = place.other_session(str(number))
            spec = session.spec("answer(open('/workspace/extra/x/name').read())")
            try:
                run(session, spec=evolve(spec, mounts=(*spec.mounts, mount)))
                seen.add(session.answer())
            except (SandboxRefused, SandboxFailed):
                seen.add("refused")
    assert seen <= {"approved", "refused"}
    session = place.other_session("calm")
    spec = session.spec("answer(open('/workspace/extra/x/name').read())")
    run(session, spec=evolve(spec, mounts=(*spec.mounts, mount)))
    assert session.answer() == "approved"


class exchanging:  # noqa: N801  # a context manager
    """Exchange two names as fast as one thread can, as a sandbox beside this one could."""

    def __init__(self, one: Path, other: Path) -> None:
        self._one, self._other = one, other
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._exchange)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _exchange(self) -> None:
        aside = self._one.with_name("aside")
        while not self._is_over.is_set():
            self._one.rename(aside)
            self._other.rename(self._one)
            self._one.rename(self._other)
            aside.rename(self._one)


@as_root
@pytest.mark.bubblewrap
def test_instance_below_the_stage_works() -> None:
    """Disks of people are mounted below /mnt, which the start of a sandbox covers."""
    with tempfile.TemporaryDirectory(dir=staging_directory()) as directory:
        place = new_place(Path(directory), PLUGIN, {})
        run(place, "answer('started')")
        assert place.answer() == "started"


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_stage_refuses_another_directory_than_the_held(tmp_path: Path) -> None:
    """The name led elsewhere by the time that it was opened again."""
    for name in ("held", "other"):
        (tmp_path / name).mkdir()
    held = os.open(tmp_path / "held", os.O_PATH)
    try:
        done = staged([(str(tmp_path / "other"), held)])
    finally:
        os.close(held)
    assert (done.returncode, "another directory took its place" in done.stderr) == (1, True)


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_stage_follows_no_link(tmp_path: Path) -> None:
    """A component of the path became a link."""
    (tmp_path / "held" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "held")
    held = os.open(tmp_path / "held" / "inner", os.O_PATH)
    try:
        done = staged([(str(tmp_path / "link" / "inner"), held)])
    finally:
        os.close(held)
    assert (done.returncode, "a directory changed while the sandbox started" in done.stderr) == (1, True)


def staged(directories: list[tuple[str, int]]) -> subprocess.CompletedProcess[str]:
    """Run bubblewrap_launcher.py with a command that succeeds."""
    plan, (request, asks), (gate, release), (answers, answer) = os.memfd_create("plan"), os.pipe(), os.pipe(), os.pipe()
    text = {
        "user_id": None if os.getuid() else 234_567,
        "staging_directory": staging_directory(),
        "directories": directories,
        "gate": [request, release, answer],
        "limits": [],
        "host": os.getpid(),
        "command": ["/bin/true"],
    }
    os.write(plan, marshal.dumps(text))
    os.lseek(plan, 0, os.SEEK_SET)
    inherited = [plan, request, release, answer, *(held for _, held in directories)]
    command = [sys.executable, "-I", "-S", str(LAUNCHER), str(plan)]
    try:
        return subprocess.run(command, pass_fds=inherited, capture_output=True, text=True, check=False)
    finally:
        for descriptor in (plan, request, asks, gate, release, answers, answer):
            os.close(descriptor)


@pytest.mark.bubblewrap
def test_shown_directories_hold_what_every_sandbox_sees(place: Place) -> None:
    """The core keeps the instance out of all of them (audit C4)."""

    async def scenario() -> list[Path]:
        async with connected(place) as runtime:
            return list(await runtime.shown_directories())

    shown = patiently(scenario())
    assert {Path("/usr"), Path(sys.prefix)} <= set(shown)
