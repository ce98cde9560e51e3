"""Control groups: one per sandbox, which limits all of its processes together. See cgroups(7), version 2.

A control group with processes cannot hand its controllers to others below it. So the host moves itself into a group
of its own, next to those of its sandboxes. It does so only in a group that belongs to it alone: one that systemd
delegated, or one without other processes.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from attrs import frozen

from nanoclaw_core import Limits

CONTROLLERS = ("memory", "cpu", "pids")
HOST_GROUP = "nanoclaw-host"
CPU_PERIOD_US = 100_000
MIN_CPU_US = 1_000  # the least quota that the kernel accepts
SWAP_LIMIT = "memory.swap.max"
REMOVE_S = 2.0  # killed processes need some time to end
MOVE_TRIES = 3  # a process may start another one while it is moved


class NoCgroup(Exception):
    """The host may not create control groups; the message has the reason."""


@frozen(kw_only=True)
class CgroupParent:
    """The control group below which the host creates those of its sandboxes.

    Args:
        controllers: Those of `CONTROLLERS` that exist here; always memory.
        movable: The processes in it, which must move into a group of their own; empty if there are none.
    """

    directory: Path
    controllers: Sequence[str]
    movable: Sequence[int] = ()

    def prepare(self) -> None:
        """Move the host into its own group, and hand the controllers to the groups below.

        Raises:
            NoCgroup: The system forbids it.
        """
        try:
            processes = self.movable
            for _ in range(MOVE_TRIES):
                if not processes:
                    break
                (self.directory / HOST_GROUP).mkdir(exist_ok=True)
                for process_id in processes:
                    with contextlib.suppress(ProcessLookupError):
                        _write(self.directory / HOST_GROUP / "cgroup.procs", str(process_id))
                processes = _processes(self.directory)
            _write(self.directory / "cgroup.subtree_control", " ".join(f"+{name}" for name in self.controllers))
        except OSError as error:
            raise NoCgroup(f"the control group {self.directory} cannot be used: {error.strerror}") from error

    def remove_leftovers(self, prefix: str, kept: Iterable[Path]) -> None:
        """Kill and remove the groups below whose names begin with `prefix`, except the kept ones."""
        for directory in sorted(set(self.directory.glob(f"{prefix}*/")) - set(kept)):
            Cgroup(directory=directory, controllers=self.controllers, limits=Limits()).remove()


@frozen(kw_only=True)
class Cgroup:
    """The control group of one sandbox; `create` makes it."""

    directory: Path
    controllers: Sequence[str]
    limits: Limits

    def create(self, process_id: int) -> None:
        """Create the group with its limits, and move a process into it. A process that has ended is no error.

        Raises:
            OSError: The system forbids it, or lacks a file of a controller.
        """
        self.directory.mkdir()
        for name, value in self.values().items():
            if name != SWAP_LIMIT or (self.directory / name).exists():  # missing in a kernel without swap
                _write(self.directory / name, value)
        with contextlib.suppress(ProcessLookupError):
            _write(self.directory / "cgroup.procs", str(process_id))

    def values(self) -> dict[str, str]:
        """Return the contents of the files that limit the group."""
        quota_us = max(MIN_CPU_US, int(self.limits.cpus * CPU_PERIOD_US))
        limits = {
            "memory.max": str(self.limits.memory_bytes),
            SWAP_LIMIT: "0",
            "cpu.max": f"{quota_us} {CPU_PERIOD_US}",
            "pids.max": str(self.limits.pids),
        }
        return {name: value for name, value in limits.items() if name.partition(".")[0] in self.controllers}

    def was_out_of_memory(self) -> bool:
        """Return whether the kernel killed a process of the group because of its memory limit."""
        lines = _read(self.directory / "memory.events").splitlines()
        return any(name == "oom_kill" and count != "0" for name, _, count in (line.partition(" ") for line in lines))

    def remove(self) -> None:
        """Kill the processes of the group and remove it. Leave it to the next host if a process does not end."""
        with contextlib.suppress(OSError):  # no group, or a kernel before 5.14; the processes end with their namespace
            _write(self.directory / "cgroup.kill", "1")
        deadline = time.monotonic() + REMOVE_S
        with contextlib.suppress(OSError), (self.directory / "cgroup.events").open("rb") as events:
            poller = select.poll()
            poller.register(events, select.POLLPRI)
            while b"populated 1" in events.read() and (left_s := deadline - time.monotonic()) > 0:
                poller.poll(left_s * 1_000)
                events.seek(0)
        with contextlib.suppress(OSError):
            self.directory.rmdir()


def own_directory(cgroup: str, mountinfo: str) -> Path:
    """Return the directory of this process's control group.

    Args:
        cgroup: The text of /proc/self/cgroup.
        mountinfo: The text of /proc/self/mountinfo, see proc(5).

    Raises:
        NoCgroup: Version 2 is not mounted, or shows other groups only.
    """
    own = next((line[3:] for line in cgroup.splitlines() if line.startswith("0::/")), "")
    for line in mountinfo.splitlines():
        fields, _, types = line.partition(" - ")
        if types.startswith("cgroup2 "):
            root, mounted_at = fields.split()[3:5]
            if own and ".." not in own and PurePosixPath(own).is_relative_to(root):
                return Path(mounted_at, PurePosixPath(own).relative_to(root))
    raise NoCgroup("this system does not show this process's control group of version 2")


def choose_parent(own: Path, family: Iterable[int]) -> CgroupParent:
    """Choose the control group for the sandboxes, without a change.

    Args:
        own: The control group of this process.
        family: The ids of this process and its descendants.

    Raises:
        NoCgroup: The host owns no suitable group.
    """
    is_below = own.name == HOST_GROUP or (_is_delegated(own.parent) and not _processes(own.parent))
    directory = own.parent if is_below else own
    controllers = [name for name in CONTROLLERS if name in _read(directory / "cgroup.controllers").split()]
    if "memory" not in controllers:
        raise NoCgroup(f"the control group {directory} has no memory controller")
    if not all(os.access(directory / name, os.W_OK) for name in ("", "cgroup.procs", "cgroup.subtree_control")):
        raise NoCgroup(f"the control group {directory} is not writable by this user")
    is_root = not (directory / "cgroup.type").exists()  # the only group that may have processes and groups below
    processes = () if is_root else _processes(directory)
    if not set(processes) <= set(family) and not _is_delegated(directory):
        raise NoCgroup(f"the control group {directory} also has processes of others")
    return CgroupParent(directory=directory, controllers=controllers, movable=processes)


def family_of(process_id: int) -> set[int]:
    """Return the ids of a process and its descendants."""
    family = [process_id]
    for member in family:  # grows in the loop
        with contextlib.suppress(OSError):  # it has ended
            for children in Path(f"/proc/{member}/task").glob("*/children"):
                family += map(int, children.read_text(encoding="ascii").split())
    return set(family)


def _is_delegated(directory: Path) -> bool:
    """Return whether systemd marks a group as one whose owner may divide it (Delegate=yes)."""
    try:
        return os.getxattr(directory, "user.delegate") == b"1"
    except OSError:
        return False


def _processes(directory: Path) -> Sequence[int]:
    return tuple(map(int, _read(directory / "cgroup.procs").split()))


def _read(path: Path) -> str:
    """Return the text of a file, or an empty text if it cannot be read."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Write to an existing file in one call, as the kernel's files demand."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
