"""The number of disk syncs that one message causes in host and runner, counted by strace."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from . import targets
from .figures import Figure
from .message_path import with_mock

FEW, MANY = 5, 25


def warm_message(home: Path) -> Iterator[Figure]:
    """Count the syncs of two runs of different length.

    The difference is the cost of the additional messages.
    """
    if shutil.which("strace") is None:
        print("skipping syncs: strace is not installed", file=sys.stderr)
        return
    few, many = (_syncs(home / str(count), count) for count in (FEW, MANY))
    yield Figure(metric=targets.SYNCS, value=(many - few) / (MANY - FEW))


def _syncs(home: Path, count: int) -> int:
    home.parent.mkdir(parents=True, exist_ok=True)
    record = home.with_suffix(".trace")
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(record)]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [*command, sys.executable, "-P", "-m", "benchmarks.syncs", str(home), str(count)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"strace failed: {done.stderr.strip()[-500:]}")
    return record.read_text().count("sync(")


async def _answer(home: Path, count: int) -> None:
    async with with_mock(home) as channel:
        for number in range(count):
            await channel.say("hello")
            await channel.wait_for(number + 1)


if __name__ == "__main__":
    asyncio.run(_answer(Path(sys.argv[1]), int(sys.argv[2])))
