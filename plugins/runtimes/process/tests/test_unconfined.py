"""Unconfined processes: their paths, and the parent watchdog that kills them with the host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from nanoclaw_runtime_process.unconfined import PARENT_WATCHDOG, host_path

from nanoclaw_core import Mount
from nanoclaw_core.testing.runtime_place import new_place
from nanoclaw_core.testing.runtime_scenario import run, writes_on

MOUNTS = (
    Mount(source=Path("/home/me/in"), target="/workspace/in"),
    Mount(source=Path("/home/me/inner"), target="/workspace/in/inner"),
)
ALIVE = "import time\nwhile True: open({!r}, 'w').close(); time.sleep(0.02)"


def test_image_is_ignored_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = new_place(tmp_path, "nanoclaw_runtime_process.host", {"bubblewrap": "no-such-bubblewrap"})
    assert run(place, spec=evolve(place.spec("raise SystemExit(6)"), image="mine:1")).code == 6
    assert "packages of the agent group are not in the sandbox, processes have no image" in caplog.messages


def test_path_in_a_mount_becomes_a_host_path() -> None:
    assert host_path("/workspace/in", MOUNTS) == "/home/me/in"
    assert host_path("/workspace/in/inbox/a.txt", MOUNTS) == "/home/me/in/inbox/a.txt"


def test_path_in_nested_mounts_uses_the_innermost() -> None:
    assert host_path("/workspace/in/inner/a", MOUNTS) == "/home/me/inner/a"


def test_path_outside_of_all_mounts_stays() -> None:
    assert host_path("/workspace/into/a", MOUNTS) == "/workspace/into/a"
    assert host_path("workspace/in", MOUNTS) == "workspace/in"
    assert host_path("", MOUNTS) == ""


def test_program_and_children_die_with_the_host(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALIVE.format(str(alive))!r}])"
    with _watched(child) as watchdog:
        _wait_for(alive)
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        assert watchdog.wait(30) == 128 + signal.SIGKILL
    assert not writes_on(alive)


def test_watchdog_forwards_signal_and_exit_status(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5));"
        f"open({str(ready)!r}, 'w').close(); time.sleep(600)"
    )
    with _watched(program) as watchdog:
        _wait_for(ready)
        watchdog.terminate()
        assert watchdog.wait(30) == 5


def test_watchdog_reports_the_signal_that_ended_the_program(tmp_path: Path) -> None:
    with _watched(f"import os; os.kill(os.getpid(), {int(signal.SIGUSR1)})") as watchdog:
        assert watchdog.wait(30) == 128 + signal.SIGUSR1


def test_watchdog_names_a_missing_program() -> None:
    command = [sys.executable, "-I", "-S", str(PARENT_WATCHDOG), "/no/such/program"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as watchdog:
        assert watchdog.stderr is not None
        assert b"/no/such/program" in watchdog.stderr.read()
        assert watchdog.wait(30) == 127


@contextlib.contextmanager
def _watched(program: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", "-S", str(PARENT_WATCHDOG), sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(os.environ)) as watchdog:
        try:
            yield watchdog
        finally:
            watchdog.kill()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
