"""The isolation of bubblewrap, tested from inside, and the user of a root host's sandboxes (audit C1, S9)."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from nanoclaw_runtime_process.bubblewrap_command import staging_directory
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
    """Create a bubblewrap that does not know --disable-userns, like those before 0.8, and that every user may run."""
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
    """/proc/sys checks the host's user: a root host's sandbox could have set a program that root runs."""
    run(place, OPEN_ALL_OF_PROC)
    assert place.answer() == []


@pytest.mark.bubblewrap
def test_user_namespace_in_a_sandbox_is_refused(place: Place) -> None:
    """In its own user namespace a sandbox would have capabilities, and could attack more of the kernel."""
    run(place, "import ctypes; answer(ctypes.CDLL(None).unshare(0x10000000))")
    assert place.answer() == -1


KILLED = "kill -9 $$"
SHORTAGE = "echo bwrap: Creating new namespace failed: Resource temporarily unavailable >&2; exit 1"


@contextlib.contextmanager
def failing_bubblewrap(place: Place, failures: int, failure: str = KILLED) -> Iterator[Place]:
    """Give a place whose bubblewrap fails as often as that, and works afterwards."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # the sandbox's user must reach it
        directory = Path(name)
        directory.chmod(0o777)
        (directory / "kills").write_text("x" * failures)
        (directory / "kills").chmod(0o666)
        yield evolve(place, settings={"bubblewrap": write_program(directory, failure)})


def write_program(directory: Path, failure: str) -> str:
    program = directory / "bwrap"
    program.write_text(
        f"#!/bin/sh\nif [ -s {directory}/kills ]; then\n"
        f'    printf %s "$(cut -c2- {directory}/kills)" >{directory}/kills\n    {failure}\nfi\n'
        f'exec {shutil.which("bwrap")} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.bubblewrap
@pytest.mark.parametrize("failure", [KILLED, SHORTAGE])
def test_probe_that_fails_by_chance_keeps_the_isolation(place: Place, failure: str) -> None:
    """An out-of-memory kill and a shortage of processes say nothing about bubblewrap."""
    with failing_bubblewrap(place, 1, failure) as failing:
        run(failing, f"answer(os.path.exists({str(place.home)!r}))")
    assert place.answer() is False


@pytest.mark.bubblewrap
def test_probe_that_is_always_killed_starts_no_process(place: Place) -> None:
    """If the isolation is unknown, no sandbox starts without it."""

    async def scenario(killed: Place) -> Readiness:
        async with connected(killed) as runtime:
            with pytest.raises(SandboxFailed, match="the test of bubblewrap did not end"):
                await runtime.start(evolve(place.spec("pass"), runs_tools=False))
            return await runtime.check()

    with failing_bubblewrap(place, 1_000) as killed:
        readiness = patiently(scenario(killed))
    assert (readiness.ready, readiness.isolates) == (False, False)


@as_root
@pytest.mark.bubblewrap
def test_sandbox_of_a_root_host_is_an_unprivileged_user(place: Place) -> None:
    """Its files belong to a user without a name, and it cannot read root's files."""
    (place.incoming / "secret").write_text("of root")
    (place.incoming / "secret").chmod(0o600)
    run(place, "answer(os.access('/workspace/in/secret', os.R_OK))")
    written = (place.outgoing / "answer.json").stat()
    assert MIN_USER_ID <= written.st_uid <= MAX_USER_ID
    assert written.st_gid == written.st_uid
    assert place.answer() is False


@as_root
@pytest.mark.bubblewrap
def test_sandbox_user_comes_from_the_settings(place: Place) -> None:
    """An operator may choose a user."""
    place = evolve(place, settings={"run_as": 123_456})
    run(place, "answer(1)")
    assert (place.outgoing / "answer.json").stat().st_uid == 123_456
    assert "sandboxes run as user 123456 of the host" in readiness_of(place).detail


@as_root
@pytest.mark.bubblewrap
@pytest.mark.parametrize("number", [0, -1, 2**32, 2**32 - 2])
def test_unusable_sandbox_user_is_refused(place: Place, number: int) -> None:
    """The sandbox must not run as root instead."""
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
def test_sandbox_user_is_stored(tmp_path: Path) -> None:
    """Files belong to it, so the next host must choose the same user."""
    first = sandbox_user(None, tmp_path / "run_as", "abcdef012345")
    assert first is not None
    keep_user(tmp_path / "run_as", first + 1)
    assert sandbox_user(None, tmp_path / "run_as", "abcdef012345") == first + 1


@as_root
@pytest.mark.bubblewrap
def test_sandbox_user_with_a_name_is_reported(place: Place) -> None:
    """A sandbox that runs as a person's user could change that person's files."""
    assert (
        "run_as is the user daemon of this machine, and a sandbox could reach that user's files; choose a free number"
        in readiness_of(evolve(place, settings={"run_as": 1})).missing_protections
    )


@pytest.mark.bubblewrap
def test_check_writes_nothing(place: Place) -> None:
    """`ncl doctor` checks an instance that may not exist yet."""
    readiness_of(place)
    assert not (place.home / "data").exists()


@as_root
@pytest.mark.bubblewrap
def test_sandbox_user_is_stored_before_it_owns_files(place: Place) -> None:
    """The next host must find the user that owns the files."""
    run(place, "answer(1)")
    kept = int((place.home / "data/process/run_as").read_text())
    assert (place.outgoing / "answer.json").stat().st_uid == kept


@as_root
@pytest.mark.parametrize("text", ["", "0", "root", "-5", str(2**40)])
def test_invalid_stored_sandbox_user_is_replaced(tmp_path: Path, text: str) -> None:
    """A damaged file must not make a sandbox root."""
    (tmp_path / "run_as").write_text(text)
    assert MIN_USER_ID <= (sandbox_user(None, tmp_path / "run_as", "abc") or 0) <= MAX_USER_ID


def test_sandbox_user_skips_taken_numbers() -> None:
    """Rootless containers of other users may use those numbers."""
    taken = [range(MAX_USER_ID, MAX_USER_ID + 1), range(MIN_USER_ID, 300_000)]
    assert choose_user(MAX_USER_ID, EVERYONE, taken) == 300_000


@pytest.mark.parametrize(("mapped", "taken"), [([range(65_536)], []), (EVERYONE, [range(2**31)])])
def test_sandbox_user_without_a_free_number_is_refused(mapped: list[range], taken: list[range]) -> None:
    """A host in a container may have few numbers; the error names the remedy."""
    with pytest.raises(NoUser, match=r"run_as: no user .* Set it under \[plugins.process\]"):
        choose_user(MIN_USER_ID, mapped, taken)


@pytest.mark.bubblewrap
def test_readiness_names_the_tested_protections(place: Place) -> None:
    """`ncl doctor` reports only tested protections."""
    readiness = readiness_of(place)
    assert "/proc is read-only, no user namespaces inside" in readiness.detail
    assert ("as user" in readiness.detail) is (os.getuid() == 0)
    assert ("system calls are filtered" in readiness.detail) is (os.uname().machine in ("x86_64", "aarch64"))
    assert ("limited together" in readiness.detail) is not any(
        "limit" in item for item in readiness.missing_protections
    )


@pytest.mark.bubblewrap
def test_readiness_names_a_missing_protection(place: Place, old_bubblewrap: str) -> None:
    """An older bubblewrap cannot forbid user namespaces."""
    readiness = readiness_of(evolve(place, settings={"bubblewrap": old_bubblewrap}))
    assert readiness.isolates
    assert "no user namespaces inside" not in readiness.detail
    assert (
        "a sandbox can create user namespaces; upgrade bubblewrap to 0.8 or later, which forbids that"
        in readiness.missing_protections
    )


@pytest.mark.bubblewrap
@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="no filter exists for this processor")
@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (r"/^--seccomp$/,+1d", "the filter does not refuse the system call"),
        (r"s#^/proc/keys$#/proc/version#", "the sandbox sees the kernel keys of the host"),
    ],
    ids=["filter", "keys"],
)
def test_wall_without_effect_is_no_isolation(place: Place, edit: str, problem: str) -> None:
    """The test from inside finds what a bubblewrap says it did."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # the sandbox's user must reach it
        directory = Path(name)
        directory.chmod(0o777)
        program = directory / "bwrap"
        options = f"sed -z '{edit}' </proc/self/fd/$2 >{directory}/options; shift 2"
        program.write_text(f'#!/bin/sh\n{options}\nexec bwrap --args 9 "$@" 9<{directory}/options\n')
        program.chmod(0o755)
        readiness = readiness_of(evolve(place, settings={"bubblewrap": str(program)}))
    assert (readiness.isolates, problem in readiness.detail) == (False, True)


@pytest.mark.bubblewrap
def test_exchanged_mount_never_shows_another_directory(place: Place) -> None:
    """While a thread exchanges its name, a mount is the approved directory or the start fails (audit C3)."""
    approved, secret = place.home / "shared" / "approved", place.home / "secret"
    for directory in (approved, secret):
        directory.mkdir(parents=True)
        (directory / "name").write_text(directory.name)
    (place.home / "shared" / "link").symlink_to(secret)
    status = approved.stat()
    identity = DirectoryIdentity(device=status.st_dev, inode=status.st_ino)
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
    """Exchange two names as fast as one thread can, as another sandbox could."""

    def __init__(self, first: Path, second: Path) -> None:
        self._first, self._second = first, second
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._exchange)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _exchange(self) -> None:
        moved = self._first.with_name("moved")
        while not self._is_over.is_set():
            self._first.rename(moved)
            self._second.rename(self._first)
            self._first.rename(self._second)
            moved.rename(self._first)


@as_root
@pytest.mark.bubblewrap
def test_instance_below_the_staging_directory_works() -> None:
    """An instance may be on a disk below /mnt, which the launcher covers."""
    with tempfile.TemporaryDirectory(dir=staging_directory()) as directory:
        place = new_place(Path(directory), PLUGIN, {})
        run(place, "answer('started')")
        assert place.answer() == "started"


@pytest.mark.bubblewrap
def test_shown_directories_include_usr_and_the_interpreter(place: Place) -> None:
    """The core keeps the instance directory out of these directories (audit C4)."""

    async def scenario() -> list[Path]:
        async with connected(place) as runtime:
            return list(await runtime.shown_directories())

    shown = patiently(scenario())
    assert {Path("/usr"), Path(sys.prefix)} <= set(shown)
