"""The process that prepares bubblewrap's start: its directories, its session keyring and its control group."""

from __future__ import annotations

import ctypes
import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nanoclaw_runtime_process.bubblewrap_command import staging_directory
from nanoclaw_runtime_process.bubblewrap_sandbox import LAUNCHER

JOIN_SESSION_KEYRING, SET_PERMISSIONS, SESSION_KEYRING = 1, 5, -3
POSSESSOR_ONLY = 0x3F000000  # only a process that has the key in its keyrings may see it, whatever its user
KEYS = {"x86_64": (248, 250), "aarch64": (217, 219)}  # add_key, keyctl
MACHINE = os.uname().machine
pytestmark = pytest.mark.invariant(number=6)


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_launcher_refuses_an_exchanged_directory(tmp_path: Path) -> None:
    """The name leads to another directory when the launcher opens it."""
    for name in ("held", "other"):
        (tmp_path / name).mkdir()
    held = os.open(tmp_path / "held", os.O_PATH)
    try:
        done = launch([(str(tmp_path / "other"), held)])
    finally:
        os.close(held)
    assert (done.returncode, "another directory took its place" in done.stderr) == (1, True)


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_launcher_follows_no_link(tmp_path: Path) -> None:
    """A component of the path has become a link."""
    (tmp_path / "held" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "held")
    held = os.open(tmp_path / "held" / "inner", os.O_PATH)
    try:
        done = launch([(str(tmp_path / "link" / "inner"), held)])
    finally:
        os.close(held)
    assert (done.returncode, "a directory changed while the sandbox started" in done.stderr) == (1, True)


def launch(
    directories: list[tuple[str, int]], command: list[str] | None = None, placed: bytes = b"!"
) -> subprocess.CompletedProcess[str]:
    """Run bubblewrap_launcher.py with a command instead of bubblewrap, by default one that succeeds."""
    plan = os.memfd_create("plan")
    (request, request_end), (release_end, release), (answer_end, answer) = os.pipe(), os.pipe(), os.pipe()
    place_end, place = os.pipe()
    os.write(place, placed)
    os.close(place)
    content = {
        "user_id": None if os.getuid() else 234_567,
        "staging_directory": staging_directory(),
        "directories": directories,
        "control": [request, release, answer],
        "limits": [],
        "placed": place_end,
        "host": os.getpid(),
        "command": command or ["/bin/true"],
    }
    os.write(plan, marshal.dumps(content))
    os.lseek(plan, 0, os.SEEK_SET)
    inherited = [plan, request, release, answer, place_end, *(held for _, held in directories)]
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(plan)]
    try:
        return subprocess.run(launcher, pass_fds=inherited, capture_output=True, text=True, check=False)
    finally:
        for descriptor in (plan, request, request_end, release_end, release, answer_end, answer, place_end):
            os.close(descriptor)


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
@pytest.mark.skipif(MACHINE not in KEYS, reason="the number of keyctl is unknown for this processor")
def test_launcher_leaves_the_keys_of_the_host_behind(tmp_path: Path) -> None:
    """Also without a filter on system calls, a sandbox must not search the session keyring of the login (audit S10)."""
    add_key, keyctl = KEYS[MACHINE]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(keyctl, JOIN_SESSION_KEYRING, None) > 0
    key = libc.syscall(add_key, b"user", tmp_path.name.encode(), b"secret", 6, SESSION_KEYRING)
    assert libc.syscall(keyctl, SET_PERMISSIONS, key, POSSESSOR_ONLY) == 0
    assert tmp_path.name in Path("/proc/keys").read_text()
    done = launch([], ["/bin/cat", "/proc/keys"])
    assert (tmp_path.name in done.stdout, done.returncode, done.stderr) == (False, 0, "")


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("bubblewrap")
def test_launcher_that_is_not_placed_runs_nothing() -> None:
    """A host that dies before it has limited the launcher closes the pipe."""
    done = launch([], ["/bin/echo", "started"], placed=b"")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "the host has not limited this process\n")
