"""The control groups of one host's sandboxes, and the report of the limits that do not hold.

`ncl doctor` runs in another control group than the host. So the host stores its own report for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from nanoclaw_wire.atomic_files import write_atomically

from nanoclaw_core import PluginContext, SandboxSpec
from nanoclaw_runtime_process.cgroup import (
    CONTROLLERS,
    Cgroup,
    CgroupParent,
    NoCgroup,
    choose_parent,
    family_of,
    own_directory,
)
from nanoclaw_runtime_process.registry import identity_of

log = logging.getLogger("nanoclaw.process")

REMEDY = "run the host as a systemd service with Delegate=yes, or use the docker runtime"
MEANINGS = {"memory": "memory", "cpu": "processor time", "pids": "the number of its processes"}


class SandboxLimits:
    """Creates and removes the control groups of a host's sandboxes. Without them only limits of single processes hold.

    Args:
        own: The control group of this process; found by itself unless a test names it.
    """

    def __init__(self, context: PluginContext, own: Path | None = None) -> None:
        self._prefix = f"nanoclaw-{context.instance_id}-"
        self._report = context.data_dir / "limits.json"
        self._own = own
        self._parent: CgroupParent | None = None
        self._missing: Sequence[str] | None = None  # None until this host is prepared
        self._lock = asyncio.Lock()
        self._used: set[Path] = set()

    async def cgroup(self, spec: SandboxSpec) -> Cgroup | None:
        """Return the control group for a new sandbox, not yet created; None if this host cannot create one."""
        await self._prepare()
        if self._parent is None:
            return None
        directory = self._parent.directory / f"{self._prefix}{spec.name}-{os.urandom(4).hex()}"
        self._used.add(directory)
        return Cgroup(directory=directory, controllers=self._parent.controllers, limits=spec.limits)

    async def remove(self, cgroup: Cgroup) -> None:
        """Remove the control group of a sandbox that has ended or was not started."""
        await asyncio.to_thread(cgroup.remove)
        self._used.discard(cgroup.directory)

    async def remove_leftovers(self) -> None:
        """Remove the control groups of an earlier host of this instance, with the processes in them."""
        await self._prepare()
        if self._parent is not None:
            await asyncio.to_thread(self._parent.remove_leftovers, self._prefix, frozenset(self._used))

    async def missing(self) -> Sequence[str]:
        """Return the limits that do not hold for this host, the running host, or a host that starts like this process.

        Changes nothing.
        """
        if self._missing is not None:
            return self._missing
        return await asyncio.to_thread(self._other_missing)

    async def _prepare(self) -> None:
        async with self._lock:
            if self._missing is None:
                self._missing = await asyncio.to_thread(self._prepare_now)

    def _prepare_now(self) -> Sequence[str]:
        try:
            parent = self._choose()
            parent.prepare()
        except NoCgroup as error:
            missing = missing_limits((), str(error))
            log.info("sandboxes have no common limits", extra={"reason": str(error)})
        else:
            self._parent = parent
            missing = _missing_below(parent)
        report = {"pid": os.getpid(), "identity": identity_of(os.getpid()), "missing": missing}
        with contextlib.suppress(OSError):  # a full disk; only `ncl doctor` reads the report
            self._report.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._report, json.dumps(report).encode(), mode=0o644, sync=False)
        return missing

    def _other_missing(self) -> Sequence[str]:
        reported = self._reported()
        if reported is not None:
            return reported
        try:
            parent = self._choose()
        except NoCgroup as error:
            return missing_limits((), str(error))
        return _missing_below(parent)

    def _reported(self) -> Sequence[str] | None:
        """Return the report of the host that runs now, or None."""
        try:
            report = json.loads(self._report.read_text(encoding="utf-8"))
            is_running = identity_of(int(report["pid"])) == str(report["identity"])
            return [str(phrase) for phrase in report["missing"]] if is_running else None
        except (OSError, ValueError, TypeError, KeyError):  # no host has run, or a crash cut the file short
            return None

    def _choose(self) -> CgroupParent:
        own = self._own
        if own is None:
            try:
                own = own_directory(*(Path("/proc/self", name).read_text() for name in ("cgroup", "mountinfo")))
            except OSError as error:
                raise NoCgroup(f"/proc cannot be read: {error.strerror}") from error
        return choose_parent(own, family_of(os.getpid()))


def missing_limits(controllers: Sequence[str], reason: str) -> list[str]:
    """Return a phrase with its remedy for each limit that does not hold for a whole sandbox."""
    missing = [name for name in CONTROLLERS if name not in controllers]
    if "memory" not in missing:
        return [f"a sandbox has no limit on {MEANINGS[name]}, because {reason}; {REMEDY}" for name in missing]
    return [
        "the memory limit of a sandbox does not hold: it counts each process by itself, and neither shared memory nor"
        f" files in /tmp; processor time has no limit. The reason is that {reason}; {REMEDY}"
    ]


def _missing_below(parent: CgroupParent) -> list[str]:
    return missing_limits(parent.controllers, f"the control group {parent.directory} lacks its controller")
