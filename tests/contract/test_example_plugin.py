"""The example plugin of docs/writing-a-plugin.md: its wheel works in a new environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from fake_ntfy import FakeNtfy

pytestmark = pytest.mark.xdist_group("wheels")

FILES = ("__init__.py", "adapter.py", "host.py", "py.typed", "rows.py")
TOKEN = "tk_only-for-tests"
SETTINGS = """
[core]
provider = "mock"
runtime = "process"
disabled_plugins = ["terminal", "docker", "claude", "gateway"]

[plugins.process]
bubblewrap = "not-in-this-test"

[plugins.mock]
echo = true

[plugins.ntfy]
topic = "kitchen"
server = "{server}"
token = "env:NTFY_TOKEN"
poll_s = 0.05
"""
MAKE_INSTANCE = """
import sys
from pathlib import Path
from nanoclaw_core import initialise
initialise(Path(sys.argv[1]), environment={"NTFY_TOKEN": "-"}, room=("ntfy", "kitchen"), owner="ntfy:ada")
"""


@frozen
class Installed:
    """An environment with the example's wheel.

    Its dependencies come from the tests' environment.
    """

    wheel: Path
    python: Path
    home: Path

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "nanoclaw_cli.main", "--home", str(self.home), *arguments]

    def environment(self) -> dict[str, str]:
        """Return this process's environment without the variables by which Python would find the checkout."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return clean | {"NTFY_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def log(self) -> str:
        return (self.home / "logs" / "nanoclaw.log").read_text(encoding="utf-8")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.home.parent, env=self.environment(), capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def installed(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("example")
    wheel = next(wheelhouse.glob("nanoclaw_channel_ntfy-*.whl"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "environment"], check=True)
    python = place / "environment" / "bin" / "python"
    (packages,) = (place / "environment").glob("lib/python*/site-packages")
    parent = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
    (packages / "parent.pth").write_text(parent, encoding="utf-8")
    # Without an index, because all dependencies of the wheel are installed in the tests' environment.
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", wheel]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Installed(wheel, python, place / "home")


@pytest.fixture
def server(installed: Installed) -> Iterator[FakeNtfy]:
    """An ntfy server, and an instance with an agent that is wired to one of its topics."""
    with FakeNtfy(token=TOKEN) as fake:
        installed.home.mkdir(exist_ok=True)
        (installed.home / "nanoclaw.toml").write_text(SETTINGS.format(server=fake.url), encoding="utf-8")
        made = installed.run(str(installed.python), "-c", MAKE_INSTANCE, str(installed.home))
        assert made.returncode == 0, made.stderr
        yield fake


def test_example_wheel_holds_only_its_typed_package(installed: Installed):
    names = {name for name in zipfile.ZipFile(installed.wheel).namelist() if ".dist-info/" not in name}
    assert names == {f"nanoclaw_channel_ntfy/{name}" for name in FILES}


def test_imports_come_from_the_installed_wheels(installed: Installed):
    script = "import nanoclaw_channel_ntfy.host as host; print(host.__file__)"
    done = installed.run(str(installed.python), "-c", script)
    assert done.stdout.startswith(str(installed.python.parents[1])), done.stderr


def test_installed_example_is_listed(installed: Installed, server: FakeNtfy):
    done = installed.run(*installed.command("plugins"))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ntfy")]
    assert line.split() == ["ntfy", "active", "nanoclaw-channel-ntfy", "0.1.0"]


def test_installed_example_carries_a_conversation(installed: Installed, server: FakeNtfy):
    with subprocess.Popen(
        installed.command("serve"),
        cwd=installed.home.parent,
        env=installed.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as host:
        try:
            assert host.stdout is not None
            assert host.stdout.readline().startswith("ready in "), installed.log()
            server.say("kitchen", "is the soup ready?")
            (answer,) = server.answers(1)
            assert answer["message"] == "is the soup ready?"
        finally:
            host.send_signal(signal.SIGTERM)
        assert host.wait(30) == 0, installed.log()
