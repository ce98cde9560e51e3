"""The guard of the root `conftest.py`: it stops a run that ignores the groups of pytest-xdist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

TESTS = """
import pytest

@pytest.mark.xdist_group("shared")
def test_in_a_group():
    pass

def test_without_a_group():
    pass
"""
# pytest-xdist 3.8 with pytest 9.2: the group is no part of an item's id.
NEWER_PYTEST = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    for item in items:
        item._nodeid = item.nodeid.partition("@")[0]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of tests with the root `conftest.py`."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "newer_pytest.py").write_text(NEWER_PYTEST)
    (tmp_path / "test_groups.py").write_text(TESTS)
    return tmp_path


def run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(project), str(ROOT / "tests" / "engine")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", *options],
        cwd=project,
        env=environment | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_run_that_ignores_groups_stops_with_the_reason(project: Path):
    done = run(project, "-p", "newer_pytest")
    assert "pytest-xdist ignores the group of test_groups.py::test_in_a_group. Install the pytest" in done.stdout
    assert done.returncode == pytest.ExitCode.INTERRUPTED


def test_run_that_keeps_groups_passes(project: Path):
    done = run(project)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
