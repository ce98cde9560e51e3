"""A host that runs as root gives the writable directories to the sandbox's user, and no other files (⚠35)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoclaw_core import DirectoryIdentity, Mount, SandboxRefused, change_owner, hold_mounts

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can change owners")


def owner(path: Path) -> int:
    return path.lstat().st_uid


def give(path: Path, *, is_approved: bool = False) -> None:
    """Give a directory to user 1000: a session directory, or a mount if `is_approved`."""
    status = path.stat()
    identity = DirectoryIdentity(device=status.st_dev, inode=status.st_ino) if is_approved else None
    with hold_mounts([Mount(source=path, target="/workspace/x", writable=True, identity=identity)]) as held:
        change_owner(held, 1000, 1000)


@pytest.mark.defect(number=35)
def test_change_owner_includes_all_files_of_the_host(tmp_path: Path) -> None:
    """The sandbox runs as another user and must write there."""
    given = tmp_path / "out"
    (given / "state").mkdir(parents=True)
    (given / "state" / "outbound.db").write_text("")
    give(given)
    assert [owner(given), owner(given / "state"), owner(given / "state" / "outbound.db")] == [1000] * 3
    assert owner(tmp_path) == 0


@pytest.mark.defect(number=35)
def test_change_owner_replaces_the_owner_of_another_runtime(tmp_path: Path) -> None:
    """Another runtime may have used another user for the session's directories."""
    (tmp_path / "out").mkdir()
    os.chown(tmp_path / "out", 200_000, 200_000)
    (tmp_path / "out" / "outbound.db").write_text("")
    os.chown(tmp_path / "out" / "outbound.db", 200_000, 200_000)
    give(tmp_path / "out")
    assert [owner(tmp_path / "out"), owner(tmp_path / "out" / "outbound.db")] == [1000, 1000]


def test_change_owner_of_a_mount_keeps_other_owners(tmp_path: Path) -> None:
    """Files of other users keep their owner in a directory that people share with the agent."""
    (tmp_path / "shared").mkdir()
    for name, user in (("theirs", 4321), ("ours", 0)):
        (tmp_path / "shared" / name).write_text("")
        os.chown(tmp_path / "shared" / name, user, user)
    give(tmp_path / "shared", is_approved=True)
    assert [owner(tmp_path / "shared" / name) for name in ("theirs", "ours")] == [4321, 1000]


@pytest.mark.invariant(number=6)
def test_change_owner_follows_no_link(tmp_path: Path) -> None:
    """A sandbox may leave a link that leads out of its directory."""
    given, outside = tmp_path / "out", tmp_path / "outside"
    given.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("")
    (given / "directory").symlink_to(outside)
    (given / "file").symlink_to(outside / "secret")
    give(given)
    assert [owner(outside), owner(outside / "secret")] == [0, 0]


@pytest.mark.invariant(number=6)
def test_change_owner_skips_files_with_a_second_name(tmp_path: Path) -> None:
    """The second name may lie outside the directory."""
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").write_text("")
    os.link(tmp_path / "elsewhere", tmp_path / "out" / "second-name")
    give(tmp_path / "out")
    assert owner(tmp_path / "elsewhere") == 0


@pytest.mark.invariant(number=6)
def test_change_owner_ignores_an_exchanged_path(tmp_path: Path) -> None:
    """The held directory changes its owner, even if its path now leads elsewhere (audit C3)."""
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
def test_change_owner_stops_at_a_maximum_depth(tmp_path: Path) -> None:
    """Nested directories exhaust neither the descriptors nor the stack of the host."""
    parent = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("out", dir_fd=parent)  # the path would exceed PATH_MAX
    for name in ("out", *["d"] * 3_000):
        below = os.open(name, os.O_RDONLY, dir_fd=parent)
        os.mkdir("d", dir_fd=below)
        os.close(parent)
        parent = below
    os.close(parent)
    give(tmp_path / "out")
    assert owner(tmp_path / "out" / "d" / "d") == 1000
    subprocess.run(["rm", "-r", tmp_path / "out"], check=True)  # the clean-up of pytest fails at this depth


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[Path]:
    """Make a directory with a file that even root cannot change."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "fixed").write_text("")
    done = subprocess.run(["chattr", "+i", tmp_path / "shared" / "fixed"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the file system does not support immutable files: {done.stderr.strip()}")
    yield tmp_path / "shared"
    subprocess.run(["chattr", "-i", tmp_path / "shared" / "fixed"], check=True)


def test_change_owner_of_a_mount_skips_immutable_files(immutable: Path) -> None:
    """A file of a mount that keeps its owner does not prevent the start of the agent."""
    (immutable / "other").write_text("")
    give(immutable, is_approved=True)
    assert [owner(immutable / name) for name in ("fixed", "other")] == [0, 1000]


def test_change_owner_of_an_immutable_own_file_is_refused(immutable: Path) -> None:
    """A session that cannot write its own files is refused with the directory's name."""
    with pytest.raises(
        SandboxRefused, match=r"shared: its owner cannot be changed to user 1000: Operation not permitted"
    ):
        give(immutable)


def test_change_owner_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    """A pipe without a writer would block an open."""
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "pipe")
    give(tmp_path / "out")
    assert [owner(tmp_path / "out"), owner(tmp_path / "out" / "pipe")] == [1000, 0]
