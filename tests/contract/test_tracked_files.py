"""Files that must not be in the repository."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from checkout import ROOT


def tracked() -> list[str]:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("needs a git checkout")
    return done.stdout.split("\0")


def test_no_lock_file_is_tracked():
    """A lock file contains the address of an index."""
    assert [name for name in tracked() if name.endswith("uv.lock")] == []


def test_no_build_output_is_tracked():
    built = ("__pycache__/", ".egg-info/", ".nanoclaw-env/", ".pyc", ".whl")
    assert [name for name in tracked() if any(part in name for part in built)] == []
