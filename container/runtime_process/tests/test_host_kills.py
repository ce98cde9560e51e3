"""A host that is killed while it starts sandboxes leaves nothing behind, at whichever moment (faults F6)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanoclaw_core.testing.recorder import WAIT_S
from nanoclaw_core.testing.runtime_place import Place, new_place

PLUGIN = "nanoclaw_runtime_process.host"
USER_ID = 423_456  # no other test's sandboxes have it, so whatever runs as this user is left over from here
KILLS = 30
STEP_S = 0.004  # a sandbox is made in some 50 ms, so that the kills spread over that time and beyond


def kill_host_while_it_starts(place: Place, delay_s: float) -> bool:
    """Run a host that starts one sandbox; kill it a moment after its first process for that exists.

    Returns:
        True if a process of the sandbox's user existed just before the kill.
    """
    program = [sys.executable, "-I", "-m", "nanoclaw_core.testing.runtime_place", place.to_text()]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, start_new_session=True) as host:
        children = Path(f"/proc/{host.pid}/task/{host.pid}/children")
        while not children.read_text():
            assert host.poll() is None
        due = time.monotonic() + delay_s
        while time.monotonic() < due:
            pass
        had_begun = bool(left_over())
        host.kill()
        return had_begun


def left_over() -> list[str]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if directory.stat().st_uid == USER_ID:
                found.append((directory / "cmdline").read_text().replace("\0", " ")[:200])
        except OSError:
            pass  # it ended
    return found


@pytest.mark.invariant(number=14)
@pytest.mark.bubblewrap
@pytest.mark.skipif(os.getuid() != 0, reason="only a root host's sandboxes have a user by which they are found")
@pytest.mark.usefixtures("bubblewrap")
def test_killed_hosts_leave_no_process(tmp_path: Path) -> None:
    """Neither a sandbox without limits nor a bubblewrap that waits for ever outlives its host."""
    places = [new_place(tmp_path / str(number), PLUGIN, {"run_as": USER_ID}) for number in range(KILLS)]
    hits = [kill_host_while_it_starts(place, number * STEP_S) for number, place in enumerate(places)]
    assert sum(hits) > KILLS // 3
    deadline = time.monotonic() + WAIT_S
    while left_over() and time.monotonic() < deadline:
        pass
    assert left_over() == []
