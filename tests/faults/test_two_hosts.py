"""Two hosts on one directory, each a process of its own (I11)."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
def a_host(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start one; what it says first comes with it. It is killed with the block."""
    command = [sys.executable, "-c", HOST, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_invariant_11_a_second_host_names_the_first_and_starts_when_that_was_killed(tmp_path: Path) -> None:
    with a_host(tmp_path) as (first, said):
        assert said == "ready"
        with a_host(tmp_path) as (second, refusal):
            assert f"another host (process {first.pid}) runs on {tmp_path}" in refusal
            second.wait(30)
        assert first.poll() is None
        first.kill()
        first.wait(30)
        with a_host(tmp_path) as (_, said):
            assert said == "ready"
