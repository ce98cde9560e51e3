"""All wheels install with pip into a new environment, and work there without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from checkout import ALL, PLUGINS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheels")]


@frozen
class Installed:
    """An environment with all wheels."""

    wheels: tuple[Path, ...]
    environment: Path
    elsewhere: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, without the variables of this one."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return subprocess.run(
            [self.environment / "bin" / program, *arguments],
            cwd=self.elsewhere,
            env=clean | {"NANOCLAW_HOME": str(self.elsewhere / "home"), "HOME": str(self.elsewhere)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Install all wheels with pip, as the README says.

    Dependencies come from the usual index.
    """
    place = tmp_path_factory.mktemp("installed")
    wheels = tuple(path for path in sorted(wheelhouse.iterdir()) if "ntfy" not in path.name)
    subprocess.run([sys.executable, "-m", "venv", place / "environment"], check=True)
    # All by path, because an index could supply another distribution for a name.
    core = next(wheel for wheel in wheels if wheel.name.startswith("nanoclaw_core-"))
    others = [str(wheel) for wheel in wheels if wheel != core]
    pip = [place / "environment" / "bin" / "python", "-m", "pip", "install", "-q", f"{core}[default]", *others]
    done = subprocess.run(pip, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (place / "elsewhere").mkdir()
    yield Installed(wheels, place / "environment", place / "elsewhere")
    shutil.rmtree(place / "environment")  # half a gigabyte, which pytest would keep for three runs


def test_every_distribution_has_a_typed_wheel(installed: Installed):
    for distribution in ALL:
        (wheel,) = [path for path in installed.wheels if path.name.startswith(f"{distribution.package}-")]
        names = zipfile.ZipFile(wheel).namelist()
        assert f"{distribution.package}/py.typed" in names
        assert {name.split("/")[0].split("-")[0] for name in names} == {distribution.package}


def test_imports_come_from_the_installed_wheels(installed: Installed):
    packages = [distribution.package for distribution in ALL]
    hosts = [f"{plugin.package}.host" for plugin in PLUGINS]
    script = f"import {', '.join(packages + hosts)}\nprint(*({'.__file__, '.join(packages)}.__file__,), sep='\\n')"
    done = installed.run("python", "-c", script)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(installed.environment)) for line in done.stdout.splitlines())


def test_ncl_runs_from_wheels(installed: Installed):
    version = installed.run("ncl", "--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, "nanoclaw 0.1.0\n", "")
    assert installed.run("ncl", "help").returncode == 0


def test_every_plugin_is_active_from_wheels(installed: Installed):
    listed = installed.run("ncl", "plugins", "list")
    assert listed.returncode == 0
    assert sorted(line.split()[:2] for line in listed.stdout.splitlines()[2:]) == sorted(
        [plugin.plugin, "active"] for plugin in PLUGINS
    )


def test_chat_answers_from_wheels(installed: Installed):
    done = installed.run("ncl", "chat", "--timeout", "120", "hello")
    assert done.returncode == 0, done.stderr
    assert "said: hello" in done.stdout
