"""Other users of the machine: none may own or write a part of the instance (audit A2)."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_cli.checks import run_checks
from nanoclaw_cli.findings import Health
from nanoclaw_cli.init import create
from nanoclaw_cli.log_setup import configure_logs

from nanoclaw_core import Host, Settings, SettingsError, load_settings

OTHER_USER = 12_345
DIRECTORIES = ["", "data", "run", "logs", "groups", "sessions"]
PARTS = [*DIRECTORIES, "nanoclaw.toml", "data/nanoclaw.db"]

# The other user may not read this Python, so the first start imports everything.
START_AS_OTHER_USER = """
import asyncio, os, sys
from pathlib import Path
from nanoclaw_core import Host, Settings

async def start(home):
    async with Host(Settings(home=Path(home)), environment={}, use_installed_plugins=False):
        pass

first, home, user = sys.argv[1:]
asyncio.run(start(first))
os.setuid(int(user))
asyncio.run(start(home))
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    create(tmp_path / "home", {})
    return tmp_path / "home"


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Clear the umask, so that files get exactly the requested mode."""
    before = os.umask(0)
    yield
    os.umask(before)


def start(home: Path) -> None:
    """Start a host as an application does that reads no settings file, and stop it."""

    async def scenario() -> None:
        async with Host(Settings(home=home), environment={}, use_installed_plugins=False):
            pass

    asyncio.run(scenario())


def refusal(home: Path) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        start(home)
    return caught.value


def follow(remedy: str) -> None:
    """Run the command that a remedy shows."""
    subprocess.run(shlex.split(remedy.split("`")[-2]), check=True)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("right", [pytest.param(0o020, marks=as_root), 0o002], ids=["group", "others"])
@pytest.mark.parametrize("part", PARTS)
def test_host_refuses_a_part_that_others_may_write(home: Path, part: str, right: int) -> None:
    """The remedy works: after its command the host starts. A private group of an ordinary user may write."""
    path = home / part
    path.chmod(mode_of(path) | right)
    error = refusal(home)
    assert f"{path} may be written by other users" in str(error)
    assert f"`chmod go-w {path}`" in error.remedy
    follow(error.remedy)
    start(home)


@as_root
@pytest.mark.parametrize("part", PARTS)
def test_host_refuses_a_part_of_another_user(home: Path, part: str) -> None:
    os.chown(home / part, OTHER_USER, -1)
    error = refusal(home)
    assert f"{home / part} belongs to user {OTHER_USER}" in str(error)
    follow(error.remedy)
    start(home)


@pytest.mark.parametrize("part", PARTS)
def test_doctor_reports_a_part_that_others_may_write(home: Path, part: str) -> None:
    (home / part).chmod(0o777)
    findings = asyncio.run(run_checks(home, {}))
    finding = next(finding for finding in findings if finding.name == "home")
    assert finding.state is Health.PROBLEM
    assert f"`chmod go-w {home / part}`" in finding.remedy


def test_host_creates_nothing_in_a_writable_directory(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    assert "chmod go-w" in str(refusal(tmp_path / "home"))
    assert list((tmp_path / "home").iterdir()) == []


def test_host_refuses_a_home_that_others_may_replace(home: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert f"{tmp_path} may be written" in str(refusal(home))
    tmp_path.chmod(0o1777)
    start(home)


def test_host_starts_in_a_linked_home(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("home")
    start(tmp_path / "link")


@pytest.mark.parametrize("part", ["", "nanoclaw.toml"])
def test_settings_that_others_may_write_are_not_read(home: Path, part: str) -> None:
    (home / "nanoclaw.toml").write_text("[core]\nprovider = 'theirs'\n")
    (home / part).chmod(0o777)
    with pytest.raises(SettingsError, match="chmod go-w"):
        load_settings(home, {})


def test_missing_settings_that_others_may_add_are_refused(home: Path) -> None:
    (home / "nanoclaw.toml").unlink()
    home.chmod(0o777)
    with pytest.raises(SettingsError, match="chmod go-w"):
        load_settings(home, {})


def test_doctor_runs_no_program_of_foreign_settings(home: Path) -> None:
    """The settings of the process runtime name a program, which its check runs; for root as another user."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        program = place / "bwrap"
        program.write_text(f"#!/bin/sh\ntouch {place / 'ran'}\n")
        program.chmod(0o755)
        (home / "nanoclaw.toml").write_text(f"[plugins.process]\nbubblewrap = '{program}'\n")
        (home / "nanoclaw.toml").chmod(0o666)
        asyncio.run(run_checks(home, {"PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nowhere"}))
        assert not (place / "ran").exists()


def test_host_closes_its_directories_at_each_start(home: Path) -> None:
    for directory in DIRECTORIES:
        (home / directory).chmod(0o755)
    start(home)
    assert {directory: mode_of(home / directory) for directory in DIRECTORIES} == dict.fromkeys(DIRECTORIES, 0o700)


def test_new_instance_is_closed_under_any_umask(tmp_path: Path, open_umask: None) -> None:
    """Its new parents are closed, too; else others could rename it."""
    home = tmp_path / "new" / "home"
    create(home, {})
    start(home)
    assert [mode_of(path) for path in (home.parent, *(home / name for name in DIRECTORIES))] == [0o700] * 7
    assert {mode_of(home / name) for name in ("nanoclaw.toml", "data/nanoclaw.db", "run/host.lock")} == {0o600}


def test_log_directory_is_closed_under_any_umask(tmp_path: Path, open_umask: None) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        configure_logs("error", tmp_path / "logs", {}, to_stderr=False)
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
    assert mode_of(tmp_path / "logs") == 0o700


@as_root
def test_ordinary_host_may_have_a_home_of_root(tmp_path: Path) -> None:
    """Root may give its directories to the host's user one by one. Root's own stay as they are."""
    home = tmp_path / "home"
    create(home, {})
    for path in home.rglob("*"):
        os.chown(path, OTHER_USER, -1)
    for path in (home, *home.parents[: -len(Path(tempfile.gettempdir()).parts)]):
        path.chmod(0o755)  # pytest closes its directories
    command = [sys.executable, "-c", START_AS_OTHER_USER, str(tmp_path / "first"), str(home), str(OTHER_USER)]
    subprocess.run(command, check=True)
    assert mode_of(home) == 0o755
