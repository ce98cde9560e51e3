"""An application embeds a host: the documented example, on the process runtime with the mock provider."""

import asyncio
import logging
import signal
from pathlib import Path

import pytest
from embedding_example import ask
from nanoclaw_cli.host_process import host_process_of

from nanoclaw_core import Host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import WAIT_S

SETTINGS = """
[core]
provider = "mock"
runtime = "process"
disabled_plugins = ["terminal", "docker", "claude", "gateway"]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "nanoclaw.toml").write_text(SETTINGS)
    return tmp_path


def test_application_talks_to_agent_over_its_own_channel(home: Path) -> None:
    async def scenario() -> str:
        async with asyncio.timeout(2 * WAIT_S):
            return await ask(home, "hello from the window")

    assert "said: hello from the window" in asyncio.run(scenario())
    assert host_process_of(home / "run") is None


def test_agent_remembers_across_two_hosts(home: Path) -> None:
    async def scenario() -> list[str]:
        async with asyncio.timeout(2 * WAIT_S):
            return [await ask(home, question) for question in ("one", "two")]

    first, second = asyncio.run(scenario())
    assert "message number 1" in first
    assert "message number 2" in second


def test_host_leaves_logging_and_signals_unchanged(bare_instance: Instance) -> None:
    def process_state() -> tuple[object, ...]:
        root = logging.getLogger()
        return (list(root.handlers), root.level, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))

    before = process_state()

    async def scenario() -> tuple[object, ...]:
        handlers = signal.getsignal(signal.SIGINT)
        async with Host(bare_instance.settings, environment={}, use_installed_plugins=False):
            assert signal.getsignal(signal.SIGINT) is handlers
            return process_state()[:3]

    assert asyncio.run(scenario()) == before[:3]
    assert process_state() == before


def test_two_hosts_on_two_directories_run_side_by_side(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nanoclaw.toml").write_text(SETTINGS)

    async def scenario() -> list[str]:
        async with asyncio.timeout(2 * WAIT_S):
            return await asyncio.gather(*(ask(tmp_path / name, f"hello {name}") for name in ("one", "two")))

    first, second = asyncio.run(scenario())
    assert "said: hello one" in first
    assert "said: hello two" in second
