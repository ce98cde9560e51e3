"""`ncl` and `ncl serve` as whole processes, timed from outside."""

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

from . import targets
from .figures import Figure
from .footprint import with_plugins
from .idle_cost import resident_mb
from .machine_baseline import timed

NCL = Path(sys.executable).parent / "ncl"
GROUPS = 100


def commands(home: Path, rounds: int) -> Iterator[Figure]:
    """Measure `ncl` with and without a host, and the host's start, memory and dispatch."""
    environment = {**os.environ, "NANOCLAW_HOME": str(home)}
    create(home, environment)
    _many_groups(home)
    many = with_plugins(environment, home.with_name(f"{home.name}-plugins"))
    yield Figure(metric=targets.VERSION, value=whole(["--version"], environment, rounds))
    yield Figure(metric=targets.VERSION_MANY, value=whole(["--version"], many, rounds))
    yield Figure(metric=targets.STATUS_DOWN, value=whole(["status"], environment, rounds))
    yield Figure(metric=targets.DOCTOR, value=whole(["doctor"], environment, max(1, rounds // 3)))
    with serving(environment) as (process, ready_ms):
        yield Figure(metric=targets.READY, value=ready_ms)
        yield Figure(metric=targets.HOST_MEMORY, value=resident_mb(process.pid))
        yield Figure(metric=targets.HELP_UP, value=whole(["help"], environment, rounds))
        socket = home / "run" / "ncl.sock"
        yield Figure(metric=targets.DISPATCH, value=asyncio.run(dispatch(socket, ["groups", "list"], rounds * 300)))
    with serving(many):
        yield Figure(metric=targets.VERB_UP, value=whole(["groups", "list"], many, rounds))
        yield Figure(
            metric=targets.COMPLETE, value=whole(["complete", "--", "groups", "config", "update", "--"], many, rounds)
        )
        yield Figure(metric=targets.HELP_UP_MANY, value=whole(["help"], many, rounds))


def _many_groups(home: Path) -> None:
    """Create agent groups until the instance has `GROUPS`."""
    database = open_database(InstancePaths(home=home))
    for number in range(1, GROUPS):
        create_agent_group(database, InstancePaths(home=home), name=f"Agent {number}", folder=f"agent-{number}")
    database.close()


def whole(words: Sequence[str], environment: dict[str, str], rounds: int) -> float:
    """Return the milliseconds of a whole `ncl` process (median), without the first run."""
    times: list[float] = []
    for _ in range(rounds + 1):
        with timed(times):
            subprocess.run([NCL, *words], env=environment, capture_output=True, check=False)
    return statistics.median(times[1:])


@contextlib.contextmanager
def serving(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """Run `ncl serve`; yield the process and the milliseconds that its host reports until it is ready."""
    process = subprocess.Popen(
        [NCL, "serve"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        ready = re.search(r"ready in ([\d.]+) s", line)
        assert ready is not None, f"expected the ready line, got {line!r}"
        time.sleep(1.0)  # until the host has searched for leftovers of an earlier one
        yield process, float(ready[1]) * 1_000
    finally:
        process.terminate()
        process.communicate()


async def dispatch(socket: Path, words: Sequence[str], count: int) -> float:
    """Return the requests per second over one connection, with 50 requests in flight."""
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
