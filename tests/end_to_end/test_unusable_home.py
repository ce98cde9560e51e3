"""First use with a full, read-only, damaged or occupied instance directory."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ncl_user import NO_ENGINE, User, assert_one_error

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a disk of this size; skip the test if that is not allowed."""
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@as_root
@pytest.mark.parametrize("words", [("init",), ("chat", "hello")])
def test_too_small_disk_is_reported(tmp_path: Path, words: Sequence[str]) -> None:
    with small_disk(tmp_path / "disk", "100k") as disk:
        output = User(home=disk / "home", environment=NO_ENGINE).run(*words)
        assert output.code == 1
        assert re.search(r"full|No space left", output.stderr)
        assert re.search(r"[Mm]ake space|disk is full", output.stderr)
        assert output.stderr.count("error (") == 1


@as_root
@pytest.mark.parametrize("words", [("serve",), ("chat", "hello"), ("init",)])
def test_full_disk_is_reported(tmp_path: Path, words: Sequence[str]) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        user = User(home=disk / "home", environment=NO_ENGINE).create()
        fill(disk / "filling")
        assert_one_error(user.run(*words), code=1, words=["disk"])


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1_000)):
            pass


@contextlib.contextmanager
def permissions(path: Path, mode: int) -> Iterator[None]:
    """Change a directory's permissions for the block."""
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(0o700)


@pytest.mark.parametrize("words", [("init",), ("chat", "hello")])
def test_home_that_cannot_be_created_is_reported(tmp_path: Path, words: Sequence[str]) -> None:
    with permissions(tmp_path, 0o500):
        output = User(home=tmp_path / "home", is_unprivileged=True).run(*words)
    assert_one_error(output, code=1, words=["Permission denied", str(tmp_path / "home"), "--home"])


@pytest.mark.parametrize(
    ("words", "code"), [(("init",), 1), (("serve",), 1), (("chat", "hello"), 2), (("status",), 2), (("logs",), 1)]
)
def test_unreadable_home_is_reported(home: Path, words: Sequence[str], code: int) -> None:
    user = User(home=home, is_unprivileged=True).create()
    with permissions(home, 0):
        output = user.run(*words)
    assert_one_error(output, code=code, words=["ermission denied", str(home)])
    assert re.search(r"does it belong to another user\?|fix .*permissions", output.stderr, re.IGNORECASE)


@pytest.mark.parametrize("words", [("serve",), ("chat", "hello"), ("init",)])
def test_read_only_home_is_reported(home: Path, words: Sequence[str]) -> None:
    user = User(home=home, environment=NO_ENGINE, is_unprivileged=True).create()
    with permissions(home / "data", 0o500), permissions(home / "run", 0o500), permissions(home, 0o500):
        output = user.run(*words)
    assert output.code == 1
    assert output.stderr.count("error (") == 1
    assert str(home) in output.stderr


@pytest.mark.parametrize("name", ["data", "run", "logs", "groups", "sessions"])
def test_doctor_reports_a_read_only_directory(home: Path, name: str) -> None:
    user = User(home=home, environment=NO_ENGINE, is_unprivileged=True).create()
    (home / name).mkdir(exist_ok=True)
    with permissions(home / name, 0o500):
        doctor = user.run("doctor")
    assert doctor.code == 1
    assert f"not writable: {home / name}\n" in doctor.stdout


def test_doctor_reports_a_read_only_database(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE, is_unprivileged=True).create()
    (home / "data" / "nanoclaw.db").chmod(0o400)
    doctor = user.run("doctor")
    assert doctor.code == 1
    assert "nanoclaw.db is not writable" in doctor.stdout


@pytest.mark.parametrize("name", ["", "run", "data"])
def test_file_in_place_of_a_directory_is_reported(home: Path, name: str) -> None:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text("")
    user = User(home=home, environment=NO_ENGINE)
    assert_one_error(user.chat(), code=1, words=["File exists" if not name else str(home / name), "--home"])
    doctor = user.run("doctor")
    assert doctor.code == 1
    assert re.search(r"is a file, not a directory\n +→ Move it away\.", doctor.stdout)


def test_damaged_database_is_reported(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE).create()
    for path in (home / "data").glob("nanoclaw.db*"):
        path.unlink()
    (home / "data" / "nanoclaw.db").write_text("no database at all")
    assert_one_error(user.chat(), code=1, words=["nanoclaw.db", "not a database", "backup"])


def leave_a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def leave_a_file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("leave", [leave_a_socket, leave_a_file])
def test_leftover_sockets_are_replaced(place: Path, leave: object) -> None:
    user = User(home=place / "home", environment=NO_ENGINE).create()
    for name in ("ncl.sock", "terminal.sock"):
        leave(user.home / "run" / name)  # type: ignore[operator]
    status = user.run("status")
    assert (status.code, status.stderr) == (1, "")
    assert "no host runs" in status.stdout
    assert user.chat().code == 0


def test_directory_at_the_control_socket_is_reported(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE).create()
    (home / "run" / "ncl.sock").mkdir()
    assert_one_error(user.chat(), code=1, words=[str(home / "run" / "ncl.sock"), "Move that file away"])


def test_directory_at_the_terminal_socket_is_reported(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE).create()
    (home / "run" / "terminal.sock").mkdir()
    assert_one_error(user.chat(), code=2, words=["its terminal channel does not work", "`ncl logs` show why"])
    assert str(home / "run" / "terminal.sock") in (home / "logs" / "nanoclaw.log").read_text(encoding="utf-8")
