"""Sandboxes in their control groups, and the report of a host about its limits (audit S11)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from nanoclaw_runtime_process.bubblewrap_command import Isolation
from nanoclaw_runtime_process.bubblewrap_sandbox import start_in_bubblewrap
from nanoclaw_runtime_process.cgroup import Cgroup
from nanoclaw_runtime_process.interpreter import current_interpreter
from nanoclaw_runtime_process.sandbox import ProcessSandbox
from nanoclaw_runtime_process.sandbox_limits import SandboxLimits
from nanoclaw_runtime_process.sandbox_user import sandbox_user

from nanoclaw_core import Limits, SandboxFailed
from nanoclaw_core.testing.runtime_place import Place, new_place
from nanoclaw_core.testing.runtime_programs import WAIT_FOR_SIGTERM
from nanoclaw_core.testing.runtime_scenario import patiently

LIMITED = "cgroup.controllers"
pytestmark = pytest.mark.invariant(number=6)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path / "home", "nanoclaw_runtime_process.host", {})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Create the files of a control group without processes as plain files."""
    directory = tmp_path / "own"
    directory.mkdir()
    for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.type"):
        (directory / name).write_text("")
    (directory / LIMITED).write_text("cpu memory pids")
    return directory


def start(place: Place, cgroup: Cgroup) -> Coroutine[Any, Any, ProcessSandbox]:
    user_id = sandbox_user(None, place.home / "run_as", place.instance_id)
    isolation = Isolation(temporary_bytes=2**20, user_id=user_id)
    program = shutil.which("bwrap") or ""
    return start_in_bubblewrap(program, place.spec(WAIT_FOR_SIGTERM), current_interpreter(), isolation, None, cgroup)


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_sandbox_runs_in_its_control_group(place: Place, kernel_group: Path) -> None:
    """All of its processes do, from their first instruction."""
    cgroup = Cgroup(directory=kernel_group / "one", controllers=(), limits=Limits())

    async def scenario() -> set[int]:
        sandbox = await start(place, cgroup)
        members = {int(number) for number in (cgroup.directory / "cgroup.procs").read_text().split()}
        await sandbox.stop(0)
        return members & {sandbox.pid}

    assert len(patiently(scenario())) == 1
    cgroup.remove()
    assert not cgroup.directory.exists()


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_sandbox_without_its_control_group_does_not_start(place: Place, tmp_path: Path) -> None:
    cgroup = Cgroup(directory=tmp_path / "missing" / "one", controllers=(), limits=Limits())
    with pytest.raises(SandboxFailed, match=f"control group {cgroup.directory} cannot be made"):
        patiently(start(place, cgroup))


def test_cgroup_of_a_sandbox_is_below_the_hosts_own(place: Place, own: Path) -> None:
    limits = SandboxLimits(place.context(), own)
    spec = place.spec("", memory_bytes=2**30)
    cgroup = asyncio.run(limits.cgroup(spec))
    assert cgroup is not None
    assert (cgroup.directory.parent, cgroup.limits) == (own, spec.limits)
    assert cgroup.directory.name.startswith(f"nanoclaw-{place.instance_id}-{place.name}-")
    assert (own / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"


def test_two_sandboxes_of_one_name_have_two_groups(place: Place, own: Path) -> None:
    """The group of an ended sandbox may be removed while the next one starts."""
    limits = SandboxLimits(place.context(), own)

    async def scenario() -> list[Cgroup | None]:
        return [await limits.cgroup(place.spec("")) for _ in range(2)]

    first, second = asyncio.run(scenario())
    assert first is not None
    assert second is not None
    assert first.directory != second.directory


def test_host_without_control_groups_names_the_remedy(place: Place, own: Path) -> None:
    (own / LIMITED).write_text("cpu pids")
    limits = SandboxLimits(place.context(), own)
    assert asyncio.run(limits.cgroup(place.spec(""))) is None
    (phrase,) = asyncio.run(limits.missing())
    assert phrase.startswith("the memory limit of a sandbox does not hold")
    assert f"the control group {own} has no memory controller; run the host as a systemd service" in phrase


def test_missing_limits_are_reported_without_a_change(place: Place, own: Path) -> None:
    """`ncl doctor` must not move the shell of its operator."""
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert asyncio.run(SandboxLimits(place.context(), own).missing()) == []
    assert (sorted(own.glob("*/")), (own / "cgroup.subtree_control").read_text()) == ([], "")
    assert not (place.home / "data").exists()


def test_report_of_the_running_host_is_shown(place: Place, own: Path, tmp_path: Path) -> None:
    """`ncl doctor` runs in another control group than a host that is a service."""
    asyncio.run(SandboxLimits(place.context(), own).cgroup(place.spec("")))
    assert asyncio.run(SandboxLimits(place.context(), tmp_path / "of-the-shell").missing()) == []


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"pid": 1}'])
def test_report_of_an_ended_host_is_ignored(place: Place, own: Path, text: str | None) -> None:
    """A crash may cut the file short, and the number may mean another process."""
    (own / LIMITED).write_text("")
    asyncio.run(SandboxLimits(place.context(), own).cgroup(place.spec("")))
    report = place.home / "data" / "process" / "limits.json"
    ended = json.dumps({**json.loads(report.read_text()), "identity": "another boot 1"})
    report.write_text(ended if text is None else text)
    (own / LIMITED).write_text("cpu memory pids")
    assert asyncio.run(SandboxLimits(place.context(), own).missing()) == []
