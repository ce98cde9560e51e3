"""Directories that another party may have replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nanoclaw_wire.untrusted_paths import open_directory


def test_open_directory_opens_a_path_and_a_name_inside(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with open_directory(tmp_path / "a") as outer, open_directory("b", outer) as inner:
        assert os.listdir(outer) == ["b"]
        assert os.path.samestat(os.fstat(inner), (tmp_path / "a" / "b").stat())
    for descriptor in (outer, inner):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.parametrize("name", ["link", "file", "pipe", "missing"])
def test_open_directory_refuses_everything_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with open_directory(tmp_path) as outer:
        for path, inside in ((tmp_path / name, None), (name, outer)):
            with pytest.raises(OSError), open_directory(path, inside):  # noqa: PT011  # ELOOP, ENOTDIR or ENOENT
                pass


def test_untrusted_paths_does_not_load_sqlite() -> None:
    """`ncl logs` opens a sandbox's log without it."""
    statement = "import nanoclaw_wire.untrusted_paths, sys; print('apsw' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
