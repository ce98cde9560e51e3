"""Programs as people start them: `ncl` and `ncl serve`, timed from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from nanoclaw_cli.init import create

from nanoclaw_core.instance import InstancePaths, create_agent_group, open_database

from . import goals
from .figures import Figure
from .footprint import with_plugins
from .resting import resident_mb
from .yardstick import timed

NCL = Path(sys.executable).parent / "ncl"
GROUPS = 100


def commands(home: Path, rounds: int) -> Iterator[Figure]:
    """`ncl` with and without a host; the host's own start, memory and dispatch."""
    environment = {**os.environ, "NANOCLAW_HOME": str(home)}
    create(home, environment)
    _many_groups(home)
    many = with_plugins(environment, home.with_name(f"{home.name}-plugins"))
    yield Figure(goal=goals.VERSION, value=whole(["--version"], environment, rounds))
    yield Figure(goal=goals.VERSION_MANY, value=whole(["--version"], many, rounds))
    yield Figure(goal=goals.STATUS_DOWN, value=whole(["status"], environment, rounds))
    yield Figure(goal=goals.DOCTOR, value=whole(["doctor"], environment, max(1, rounds // 3)))
    with serving(environment) as (process, ready_ms):
        yield Figure(goal=goals.READY, value=ready_ms)
        yield Figure(goal=goals.HOST_MEMORY, value=resident_mb(process.pid))
        yield Figure(goal=goals.HELP_UP, value=whole(["help"], environment, rounds))
        socket = home / "run" / "ncl.sock"
        yield Figure(goal=goals.DISPATCH, value=asyncio.run(dispatch(socket, ["groups", "list"], rounds * 300)))
    with serving(many):
        yield Figure(goal=goals.VERB_UP, value=whole(["groups", "list"], many, rounds))
        yield Figure(
            goal=goals.COMPLETE, value=whole(["complete", "--", "groups", "config", "update", "--"], many, rounds)
        )
        yield Figure(goal=goals.HELP_UP_MANY, value=whole(["help"], many, rounds))


def _many_groups(home: Path) -> None:
    """Make agent groups, until there are `GROUPS`."""
    database = open_database(InstancePaths(home=home))
    for number in range(1, GROUPS):
        create_agent_group(database, InstancePaths(home=home), name=f"Agent {number}", folder=f"agent-{number}")
    database.close()


def whole(words: Sequence[str], environment: dict[str, str], rounds: int) -> float:
    """Return the milliseconds of a whole `ncl` process (median), the first run not counted."""
    times: list[float] = []
    for _ in range(rounds + 1):
        with timed(times):
            subprocess.run([NCL, *words], env=environment, capture_output=True, check=False)
    return statistics.median(times[1:])


@contextlib.contextmanager
def serving(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """Run `ncl serve`; give the process and the milliseconds it says its host took to be ready."""
    process = subprocess.Popen(
        [NCL, "serve"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"ready in ([\d.]+) s", line)
        assert found is not None, f"no ready line but {line!r}"
        time.sleep(1.0)  # the figure is of a host at rest, not of one that looks for what an earlier one left
        yield process, float(found[1]) * 1_000
    finally:
        process.terminate()
        process.communicate()


async def dispatch(socket: Path, words: Sequence[str], count: int) -> float:
    """Return how many requests a second one connection gets answered, several under way at a time."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=1_000_000)
    line = json.dumps({"id": "1", "words": words, "options": {}}).encode() + b"\n"
    began = time.perf_counter()
    for _ in range(0, count, 50):
        writer.write(line * 50)
        for _ in range(50):
            await reader.readline()
    rate = count / (time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()
    return rate
