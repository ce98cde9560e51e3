"""Paths that a group may write: only the private group of the own user is trusted, as with the umask 002."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from nanoclaw_untrusted.private_paths import MAX_ACCOUNT_BYTES

USER = os.geteuid() or 12_345
# If this process is root's, an ordinary user examines the path. It may not read this Python, so import first.
EXAMINE = """
import os, sys
from pathlib import Path
from nanoclaw_untrusted.private_paths import exposure_of
path, accounts, user = sys.argv[1:]
if os.geteuid() == 0:
    os.setgid(int(user))
    os.setuid(int(user))
exposure = exposure_of(Path(path), Path(accounts))
print(exposure.fault if exposure else "private")
"""
PASSWD = "root:x:0:0::/root:/bin/sh\nada:x:{user}:{group}::/home/ada:/bin/sh\n"
GROUP = "root:x:0:\nada:x:{group}:\n"


@pytest.fixture
def projects() -> Iterator[Path]:
    """Return a directory that its user and its group may write, with a file. pytest's directories are closed."""
    with tempfile.TemporaryDirectory() as name:
        top, directory = Path(name), Path(name, "projects")
        top.chmod(0o711)
        directory.mkdir()
        (directory / "file").touch()
        for part, mode in ((directory / "file", 0o664), (directory, 0o775)):
            if os.geteuid() == 0:
                os.chown(part, USER, USER)
            part.chmod(mode)
        yield directory


def examine(path: Path, passwd: str = PASSWD, group: str = GROUP) -> str:
    """Return the fault of a path, or `private`."""
    accounts = path.parents[1] / "accounts"
    accounts.mkdir(mode=0o755)
    for name, text in (("passwd", passwd), ("group", group)):
        (accounts / name).write_text(text.replace("{user}", str(USER)).replace("{group}", str(path.stat().st_gid)))
    command = [sys.executable, "-c", EXAMINE, str(path), str(accounts), str(USER)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.strip()


def require_ordinary_group(projects: Path) -> None:
    if projects.stat().st_gid == 0:
        pytest.skip("the group of root is never private")


@pytest.mark.parametrize("mode", [0o775, 0o770, 0o2775])
def test_own_private_group_may_write(projects: Path, mode: int) -> None:
    require_ordinary_group(projects)
    projects.chmod(mode)
    assert examine(projects / "file") == "private"


def test_others_may_not_write_beside_a_private_group(projects: Path) -> None:
    (projects / "file").chmod(0o666)
    assert "may be written by other users" in examine(projects / "file")


@pytest.mark.parametrize(
    ("passwd", "group"),
    [
        (PASSWD, "ada:x:{group}:bob\n"),
        (PASSWD, "ada:x:{group}:\nstaff:x:{group}:bob\n"),
        (PASSWD, "users:x:{group}:\n"),
        (PASSWD, "ada:x:7{group}:\n"),
        (PASSWD + "bob:x:77:{group}::/home/bob:/bin/sh\n", GROUP),
        (PASSWD + "bob:x:{user}:77::/home/bob:/bin/sh\n", GROUP),
        (PASSWD.replace("ada:x:{user}:{group}", "ada:x:{user}:77"), GROUP),
        ("", GROUP),
        (PASSWD, ""),
        (PASSWD, GROUP + "#" * MAX_ACCOUNT_BYTES),
    ],
    ids=[
        "member",
        "second name",
        "other name",
        "no group",
        "same group",
        "same user",
        "not primary",
        "no users",
        "no groups",
        "too long",
    ],
)
def test_group_that_may_have_others_is_exposed(projects: Path, passwd: str, group: str) -> None:
    assert f"{projects} may be written by other users" in examine(projects / "file", passwd, group)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change owners")
def test_group_of_root_is_never_private(projects: Path) -> None:
    """Programs in containers often run in it."""
    for path in (projects, projects / "file"):
        os.chown(path, -1, 0)
    (projects / "file").chmod(0o644)
    passwd = f"ada:x:{USER}:0::/home/ada:/bin/sh\n"
    assert f"{projects} may be written" in examine(projects / "file", passwd, "ada:x:0:\n")


def test_access_list_is_not_a_private_group(projects: Path) -> None:
    """The system shows the right of another user in the list as the right of the group."""
    entries = [
        (0x01, 7, 0xFFFFFFFF),
        (0x02, 7, 54_321),
        (0x04, 7, 0xFFFFFFFF),
        (0x10, 7, 0xFFFFFFFF),
        (0x20, 5, 0xFFFFFFFF),
    ]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(projects, "system.posix_acl_access", access)
    except OSError:
        pytest.skip("this file system has no access control lists")
    assert f"{projects} may be written by other users" in examine(projects / "file")
