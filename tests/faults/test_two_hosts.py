"""Two hosts in separate processes on one directory (I11)."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HOST = """
import asyncio, sys
from pathlib import Path
from nanoclaw_core import Host, NanoclawError
from nanoclaw_core.settings import CoreSettings, Settings

async def main():
    settings = Settings(home=Path(sys.argv[1]), core=CoreSettings())
    async with Host(settings, environment={}, use_installed_plugins=False):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

try:
    asyncio.run(main())
except NanoclawError as error:
    print(error, flush=True)
"""


@contextmanager
def host_subprocess(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a host, yield its process and its first line of output, and kill it at the end."""
    command = [sys.executable, "-c", HOST, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.invariant(number=11)
def test_second_host_is_refused_until_first_is_killed(tmp_path: Path) -> None:
    """The second host refuses to start and names the first.

    A host starts once the first is killed.
    """
    with host_subprocess(tmp_path) as (first, said):
        assert said == "ready"
        with host_subprocess(tmp_path) as (second, refusal):
            assert f"another host (process {first.pid}) runs on {tmp_path}" in refusal
            second.wait(30)
        assert first.poll() is None
        first.kill()
        first.wait(30)
        with host_subprocess(tmp_path) as (_, said):
            assert said == "ready"
