"""Where the host runs as root, the sandbox's user can write what it is given (⚠35), and nothing else changes hands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoclaw_core import DirectoryIdentity, Mount, SandboxRefused, change_owner, hold_mounts

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


def owner(path: Path) -> int:
    return path.lstat().st_uid


def give(path: Path, *, is_approved: bool = False) -> None:
    """Hand a directory to user 1000: one of a session's own, or a mount that a human approved."""
    found = path.stat()
    identity = DirectoryIdentity(device=found.st_dev, inode=found.st_ino) if is_approved else None
    with hold_mounts([Mount(source=path, target="/workspace/x", writable=True, identity=identity)]) as held:
        change_owner(held, 1000, 1000)


@pytest.mark.defect(number=35)
def test_hand_over_includes_all_files_of_the_host(tmp_path: Path) -> None:
    """The sandbox's user is another one, and has to write in there."""
    given = tmp_path / "out"
    (given / "state").mkdir(parents=True)
    (given / "state" / "outbound.db").write_text("")
    give(given)
    assert [owner(given), owner(given / "state"), owner(given / "state" / "outbound.db")] == [1000] * 3
    assert owner(tmp_path) == 0


@pytest.mark.defect(number=35)
def test_hand_over_replaces_the_owner_of_an_earlier_runtime(tmp_path: Path) -> None:
    """Another runtime may have used another user for the session's own directories."""
    (tmp_path / "out").mkdir()
    os.chown(tmp_path / "out", 200_000, 200_000)
    (tmp_path / "out" / "outbound.db").write_text("")
    os.chown(tmp_path / "out" / "outbound.db", 200_000, 200_000)
    give(tmp_path / "out")
    assert [owner(tmp_path / "out"), owner(tmp_path / "out" / "outbound.db")] == [1000, 1000]


def test_hand_over_of_a_mount_keeps_other_owners(tmp_path: Path) -> None:
    """In a directory that people share with the agent, their files stay theirs."""
    (tmp_path / "shared").mkdir()
    for name, user in (("theirs", 4321), ("ours", 0)):
        (tmp_path / "shared" / name).write_text("")
        os.chown(tmp_path / "shared" / name, user, user)
    give(tmp_path / "shared", is_approved=True)
    assert [owner(tmp_path / "shared" / name) for name in ("theirs", "ours")] == [4321, 1000]


@pytest.mark.invariant(number=6)
def test_hand_over_follows_no_link(tmp_path: Path) -> None:
    """A link that a sandbox left leads out of its directory."""
    given, outside = tmp_path / "out", tmp_path / "outside"
    given.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("")
    (given / "directory").symlink_to(outside)
    (given / "file").symlink_to(outside / "secret")
    give(given)
    assert [owner(outside), owner(outside / "secret")] == [0, 0]


@pytest.mark.invariant(number=6)
def test_hand_over_skips_files_with_a_second_name(tmp_path: Path) -> None:
    """The second name may stand outside."""
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").write_text("")
    os.link(tmp_path / "elsewhere", tmp_path / "out" / "second-name")
    give(tmp_path / "out")
    assert owner(tmp_path / "elsewhere") == 0


@pytest.mark.invariant(number=6)
def test_hand_over_ignores_an_exchanged_path(tmp_path: Path) -> None:
    """The directory that is held changes hands, wherever its name leads meanwhile (audit C3)."""
    outside = tmp_path / "outside"
    for directory in (tmp_path / "out" / "inner", outside):
        directory.mkdir(parents=True)
    mount = Mount(source=tmp_path / "out" / "inner", target="/workspace/x", writable=True)
    with hold_mounts([mount]) as held:
        (tmp_path / "out" / "inner").rename(tmp_path / "moved")
        (tmp_path / "out" / "inner").symlink_to(outside)
        change_owner(held, 1000, 1000)
    assert [owner(outside), owner(tmp_path / "moved")] == [0, 1000]


@pytest.mark.invariant(number=14)
def test_hand_over_stops_at_a_maximum_depth(tmp_path: Path) -> None:
    """Directories within directories do not use up the host's descriptors or its stack."""
    parent = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("out", dir_fd=parent)  # a path of this depth is longer than a path may be
    for name in ("out", *["d"] * 3_000):
        below = os.open(name, os.O_RDONLY, dir_fd=parent)
        os.mkdir("d", dir_fd=below)
        os.close(parent)
        parent = below
    os.close(parent)
    give(tmp_path / "out")
    assert owner(tmp_path / "out" / "d" / "d") == 1000
    subprocess.run(["rm", "-r", tmp_path / "out"], check=True)  # what clears up after tests does not reach so deep


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[Path]:
    """Make a directory with a file in it that not even root may change."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "fixed").write_text("")
    done = subprocess.run(["chattr", "+i", tmp_path / "shared" / "fixed"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this file system has no immutable files: {done.stderr.strip()}")
    yield tmp_path / "shared"
    subprocess.run(["chattr", "-i", tmp_path / "shared" / "fixed"], check=True)


def test_hand_over_of_a_mount_skips_immutable_files(immutable: Path) -> None:
    """One file of a mount that keeps its owner does not keep the agent from starting."""
    (immutable / "other").write_text("")
    give(immutable, is_approved=True)
    assert [owner(immutable / name) for name in ("fixed", "other")] == [0, 1000]


def test_hand_over_of_an_immutable_own_file_is_refused(immutable: Path) -> None:
    """A session that cannot write its own files is refused with the directory's name."""
    with pytest.raises(SandboxRefused, match=r"shared cannot be given to user 1000: Operation not permitted"):
        give(immutable)


def test_hand_over_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    """A pipe without a writer keeps nobody."""
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "pipe")
    give(tmp_path / "out")
    assert [owner(tmp_path / "out"), owner(tmp_path / "out" / "pipe")] == [1000, 0]
