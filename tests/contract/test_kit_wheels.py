"""The test kit in a new environment with only the wheels of the core, its libraries and an example channel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT

pytestmark = pytest.mark.xdist_group("wheels")

EXAMPLE = ROOT / "docs" / "examples" / "nanoclaw-channel-ntfy"
PACKAGES = ("nanoclaw_core", "nanoclaw_settings", "nanoclaw_untrusted", "nanoclaw_wire", "nanoclaw_channel_ntfy")
OWN_MODULES = {"nanoclaw_core", "nanoclaw_core.testing", "nanoclaw_core.testing.pytest_plugin"}


@pytest.fixture(scope="module")
def python(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Python of an environment with the core, its libraries, the example channel, and their dependencies."""
    place = tmp_path_factory.mktemp("stranger")
    core, *others = (next(wheelhouse.glob(f"{package}-*.whl")) for package in PACKAGES)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "environment"], check=True)
    program = place / "environment" / "bin" / "python"
    uv = Path(sys.executable).parent / "uv"
    done = run(place, uv, "pip", "install", "-q", "--python", program, f"{core}[testing]", *map(str, others))
    assert done.returncode == 0, done.stderr
    yield program
    shutil.rmtree(place / "environment")


def run(place: Path, *command: Path | str) -> subprocess.CompletedProcess[str]:
    """Run a program without the variables of this environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(command, cwd=place, env=clean, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("test", ["test_in_ten_lines.py", "test_contract.py"])
def test_kit_from_wheels_tests_a_channel(python: Path, tmp_path: Path, test: str):
    for name in (test, "fake_ntfy.py"):
        shutil.copy(EXAMPLE / "tests" / name, tmp_path)
    done = run(tmp_path, python, "-m", "pytest", "-q", "-W", "error", test)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_ten_line_example_is_short_and_shown_as_it_is_run():
    text = (EXAMPLE / "tests" / "test_in_ten_lines.py").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line]) <= 10
    assert f"```python\n{text}```" in (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")


def test_unused_kit_loads_no_other_modules():
    script = (
        "import sys, pytest\nbefore = set(sys.modules)\n"
        "import nanoclaw_core.testing.pytest_plugin\nprint(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert set(done.stdout.split()) == OWN_MODULES
