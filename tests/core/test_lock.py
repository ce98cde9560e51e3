"""One host per instance directory, by a lock that ends with its process (I11)."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nanoclaw_cli.host_process import host_process_of
from nanoclaw_wire.names import HOST_LOCK

from nanoclaw_core import AlreadyRunning, Host
from nanoclaw_core.lock import InstanceLock
from nanoclaw_core.testing.instance import Instance

HOLDER = """
import sys
from pathlib import Path
from nanoclaw_core.lock import InstanceLock
InstanceLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock in another process."""
    command = [sys.executable, "-c", HOLDER, str(run_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.invariant(number=11)
def test_second_process_is_refused_with_the_owner_pid(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        assert host_process_of(tmp_path) == process.pid
        with pytest.raises(AlreadyRunning, match=f"process {process.pid}"):
            InstanceLock(tmp_path).acquire()


@pytest.mark.invariant(number=11)
def test_killed_process_releases_the_lock(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        process.kill()
        process.wait()
        assert host_process_of(tmp_path) is None
        lock = InstanceLock(tmp_path)
        lock.acquire()
        lock.release()


@pytest.mark.defect(number=45)
def test_second_host_on_one_directory_does_not_start(bare_instance: Instance) -> None:
    async def scenario() -> None:
        async with Host(bare_instance.settings, environment={}, use_installed_plugins=False) as first:
            second = Host(bare_instance.settings, environment={}, use_installed_plugins=False)
            with pytest.raises(AlreadyRunning):
                await second.__aenter__()
            assert first.status()["state"] == "running"
            assert bare_instance.paths.control_socket.exists()

    asyncio.run(scenario())


def test_stopped_host_releases_the_lock(bare_instance: Instance) -> None:
    async def scenario() -> None:
        for _ in range(2):
            async with Host(bare_instance.settings, environment={}, use_installed_plugins=False):
                assert host_process_of(bare_instance.paths.run) is not None

    asyncio.run(scenario())
    assert host_process_of(bare_instance.paths.run) is None


def test_host_process_of_creates_no_file(tmp_path: Path) -> None:
    assert host_process_of(tmp_path) is None
    assert not (tmp_path / HOST_LOCK).exists()


def test_released_lock_can_be_acquired_again(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    for _ in range(2):
        lock.acquire()
        lock.release()
        lock.release()


def test_host_process_of_does_not_block_a_host(tmp_path: Path) -> None:
    command = [sys.executable, "-c", POLLER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as poller:
        assert poller.stdout is not None
        assert poller.stdout.readline() == "polling\n"
        try:
            for _ in range(300):
                lock = InstanceLock(tmp_path)
                lock.acquire()
                lock.release()
        finally:
            poller.kill()


POLLER = """
import sys
from pathlib import Path
from nanoclaw_cli.host_process import host_process_of
print("polling", flush=True)
while True:
    host_process_of(Path(sys.argv[1]))
"""
