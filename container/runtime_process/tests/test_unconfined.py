"""Plain processes: paths, and the leash that ties them to the host."""

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


def test_the_log_says_that_an_image_cannot_be_had_and_the_sandbox_starts_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = new_place(tmp_path, "nanoclaw_runtime_process.host", {"bubblewrap": "no-such-bubblewrap"})
    assert run(place, spec=evolve(place.spec("raise SystemExit(6)"), image="mine:1")).code == 6
    assert "packages of the agent group are not in the sandbox, processes have no image" in caplog.messages


def test_a_path_in_a_mount_becomes_the_path_of_the_host() -> None:
    assert host_path("/workspace/in", MOUNTS) == "/home/me/in"
    assert host_path("/workspace/in/inbox/a.txt", MOUNTS) == "/home/me/in/inbox/a.txt"


def test_the_innermost_mount_counts() -> None:
    assert host_path("/workspace/in/inner/a", MOUNTS) == "/home/me/inner/a"


def test_what_only_begins_like_a_mount_stays_as_it_is() -> None:
    assert host_path("/workspace/into/a", MOUNTS) == "/workspace/into/a"
    assert host_path("workspace/in", MOUNTS) == "workspace/in"
    assert host_path("", MOUNTS) == ""


def test_a_program_and_its_children_end_when_the_leash_is_let_go(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALIVE.format(str(alive))!r}])"
    with _leashed(child) as leashed:
        _wait_for(alive)
        assert leashed.stdin is not None
        leashed.stdin.close()
        assert leashed.wait(30) == 128 + signal.SIGKILL
    assert not writes_on(alive)


def test_a_signal_is_passed_on_and_the_exit_status_comes_back(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5));"
        f"open({str(ready)!r}, 'w').close(); time.sleep(600)"
    )
    with _leashed(program) as leashed:
        _wait_for(ready)
        leashed.terminate()
        assert leashed.wait(30) == 5


def test_a_program_that_a_signal_ended_is_told_apart(tmp_path: Path) -> None:
    with _leashed(f"import os; os.kill(os.getpid(), {int(signal.SIGUSR1)})") as leashed:
        assert leashed.wait(30) == 128 + signal.SIGUSR1


def test_a_program_that_does_not_exist_is_named() -> None:
    command = [sys.executable, "-I", "-S", str(PARENT_WATCHDOG), "/no/such/program"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as leashed:
        assert leashed.stderr is not None
        assert b"/no/such/program" in leashed.stderr.read()
        assert leashed.wait(30) == 127


@contextlib.contextmanager
def _leashed(program: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-I", "-S", str(PARENT_WATCHDOG), sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(os.environ)) as leashed:
        try:
            yield leashed
        finally:
            leashed.kill()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
