"""The control groups of sandboxes: which group the host may divide, and what the kernel gets (audit S11)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE

import pytest
from nanoclaw_runtime_process.cgroup import (
    HOST_GROUP,
    Cgroup,
    CgroupParent,
    NoCgroup,
    choose_parent,
    family_of,
    own_directory,
)
from nanoclaw_runtime_process.sandbox_limits import missing_limits

from nanoclaw_core import Limits

MOUNTS = (
    "24 30 0:22 / /proc rw - proc proc rw\n"
    "35 24 0:30 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
)
pytestmark = pytest.mark.invariant(number=6)


def group(directory: Path, processes: Sequence[int] = (), controllers: str = "cpuset cpu io memory pids") -> Path:
    """Create the files of a control group as plain files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup.procs").write_text("".join(f"{process}\n" for process in processes))
    (directory / "cgroup.controllers").write_text(controllers + "\n")
    (directory / "cgroup.subtree_control").write_text("")
    (directory / "cgroup.type").write_text("domain\n")
    return directory


def delegated(directory: Path) -> Path:
    """Mark a group as systemd does for Delegate=yes."""
    try:
        os.setxattr(directory, "user.delegate", b"1")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    return directory


@pytest.mark.parametrize(
    ("own", "root", "expected"),
    [
        ("/a/b.service", "/", "/sys/fs/cgroup/a/b.service"),
        ("/a/b", "/a", "/sys/fs/cgroup/b"),
        ("/", "/", "/sys/fs/cgroup"),
    ],
)
def test_own_directory_is_below_the_mount(own: str, root: str, expected: str) -> None:
    assert own_directory(f"4:memory:/other\n0::{own}\n", MOUNTS.format(root=root)) == Path(expected)


@pytest.mark.parametrize(
    ("cgroup", "mounts"),
    [("0::/a\n", ""), ("4:memory:/a\n", MOUNTS.format(root="/")), ("0::/../a\n", MOUNTS.format(root="/"))],
)
def test_own_directory_that_is_not_shown_is_an_error(cgroup: str, mounts: str) -> None:
    """Only version 1, nothing mounted, or a container that hides it."""
    with pytest.raises(NoCgroup, match="does not show"):
        own_directory(cgroup, mounts)


def test_group_of_the_host_alone_is_chosen(tmp_path: Path) -> None:
    own = group(tmp_path / "own", [10, 11])
    parent = choose_parent(own, family={10, 11, 12})
    assert (parent.directory, parent.controllers, parent.movable) == (own, ["memory", "cpu", "pids"], (10, 11))


def test_group_with_processes_of_others_is_refused(tmp_path: Path) -> None:
    """The shell of a terminal keeps its group."""
    with pytest.raises(NoCgroup, match="also has processes of others"):
        choose_parent(group(tmp_path / "own", [9, 10]), family={10})


def test_delegated_group_is_chosen_with_all_processes(tmp_path: Path) -> None:
    """A service may start the host by a script, which waits for it."""
    own = delegated(group(tmp_path / "own", [9, 10]))
    assert choose_parent(own, family={10}).movable == (9, 10)


def test_empty_delegated_parent_is_chosen(tmp_path: Path) -> None:
    """DelegateSubgroup= of systemd has moved the host already."""
    unit = delegated(group(tmp_path / "unit"))
    assert choose_parent(group(unit / "main", [10]), family={10}).directory == unit


def test_host_that_has_moved_chooses_the_same_group(tmp_path: Path) -> None:
    unit = group(tmp_path / "unit")
    parent = choose_parent(group(unit / HOST_GROUP, [10]), family={10})
    assert (parent.directory, parent.movable) == (unit, ())


def test_root_group_keeps_its_processes(tmp_path: Path) -> None:
    """Only the root of the hierarchy may have processes and groups with controllers."""
    own = group(tmp_path / "own", [1, 10])
    (own / "cgroup.type").unlink()
    assert choose_parent(own, family={10}).movable == ()


def test_group_without_a_memory_controller_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoCgroup, match="has no memory controller"):
        choose_parent(group(tmp_path / "own", [10], controllers="cpu pids"), family={10})


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everything")
def test_group_of_another_user_is_refused(tmp_path: Path) -> None:
    own = group(tmp_path / "own", [10])
    (own / "cgroup.procs").chmod(0o444)
    with pytest.raises(NoCgroup, match="is not writable by this user"):
        choose_parent(own, family={10})


def test_missing_controllers_are_named(tmp_path: Path) -> None:
    parent = choose_parent(group(tmp_path / "own", [10], controllers="memory pids"), family={10})
    (phrase,) = missing_limits(parent.controllers, "of a reason")
    assert phrase.startswith("a sandbox has no limit on processor time, because of a reason; run the host as a systemd")
    assert missing_limits(["memory", "cpu", "pids"], "") == []


def test_prepare_moves_the_host_into_its_own_group(kernel_group: Path) -> None:
    """A group with processes cannot hand controllers down."""
    with sleeper() as process:
        (kernel_group / "cgroup.procs").write_text(str(process.pid))
        CgroupParent(directory=kernel_group, controllers=(), movable=(process.pid,)).prepare()
        assert (kernel_group / HOST_GROUP / "cgroup.procs").read_text().split() == [str(process.pid)]


def test_prepare_of_a_forbidden_group_names_the_reason(tmp_path: Path) -> None:
    with pytest.raises(NoCgroup, match=f"the control group {tmp_path} cannot be used: No such file"):
        CgroupParent(directory=tmp_path, controllers=("memory",)).prepare()


def test_group_limits_memory_processor_time_and_processes(tmp_path: Path) -> None:
    """Without swap, which would hide a missing limit as slowness."""
    limits = Limits(memory_bytes=2**30, cpus=1.5, pids=100)
    cgroup = Cgroup(directory=tmp_path, controllers=("memory", "cpu", "pids"), limits=limits)
    expected = {"memory.max": "1073741824", "memory.swap.max": "0", "cpu.max": "150000 100000", "pids.max": "100"}
    assert cgroup.values() == expected


def test_group_limits_only_what_it_controls(tmp_path: Path) -> None:
    cgroup = Cgroup(directory=tmp_path, controllers=("memory", "pids"), limits=Limits(cpus=0.0001))
    assert set(cgroup.values()) == {"memory.max", "memory.swap.max", "pids.max"}


def test_created_group_has_its_process(kernel_group: Path) -> None:
    cgroup = Cgroup(directory=kernel_group / "one", controllers=(), limits=Limits())
    with sleeper() as process:
        cgroup.create(process.pid)
        assert (cgroup.directory / "cgroup.procs").read_text().split() == [str(process.pid)]


def test_group_of_an_ended_process_is_created(kernel_group: Path) -> None:
    """The launcher may fail at once; its own message tells why."""
    with sleeper() as process:
        pass
    cgroup = Cgroup(directory=kernel_group / "one", controllers=(), limits=Limits())
    cgroup.create(process.pid)
    assert not cgroup.was_out_of_memory()


def test_remove_kills_the_processes(kernel_group: Path) -> None:
    cgroup = Cgroup(directory=kernel_group / "one", controllers=(), limits=Limits())
    with sleeper() as process:
        cgroup.create(process.pid)
        cgroup.remove()
        assert process.wait(30) == -9
    assert not cgroup.directory.exists()


def test_leftovers_of_this_instance_are_removed(kernel_group: Path) -> None:
    """A killed host leaves its groups; those of another instance are not its own."""
    for name in ("nanoclaw-abc-1", "nanoclaw-abc-2", "nanoclaw-def-1"):
        (kernel_group / name).mkdir()
    parent = CgroupParent(directory=kernel_group, controllers=())
    parent.remove_leftovers("nanoclaw-abc-", kept=[kernel_group / "nanoclaw-abc-2"])
    assert sorted(path.name for path in kernel_group.glob("nanoclaw-*/")) == ["nanoclaw-abc-2", "nanoclaw-def-1"]


def test_out_of_memory_is_read_from_the_events(tmp_path: Path) -> None:
    cgroup = Cgroup(directory=tmp_path, controllers=(), limits=Limits())
    (tmp_path / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert not cgroup.was_out_of_memory()
    (tmp_path / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert cgroup.was_out_of_memory()


def test_family_has_children_of_children() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=PIPE, text=True) as shell:
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        family = family_of(os.getpid())
        os.kill(child, signal.SIGKILL)
    assert {os.getpid(), shell.pid, child} <= family


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()
