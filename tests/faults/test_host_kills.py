"""A kill at any moment while a host starts sandboxes leaves no process behind.

`--kills` sets the length of the series. `--seed` repeats a series: it gives each moment as a share of the time that a
start takes on this machine.
"""

import asyncio
import json
import os
import random
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cattrs
import pytest
from attrs import evolve, frozen
from process_tree import kill, processes_below

from nanoclaw_core.testing.recorder import WAIT_S
from nanoclaw_core.testing.runtime_place import Place, connect, new_place

PLUGIN = "nanoclaw_runtime_process.host"
KILLS_IN_CI = 100
MEASURED_STARTS = 3
BEYOND = 1.2  # the last kills follow the start, while the sandboxes begin to run


@frozen
class Starters:
    """A client of the fork server that runs starters: processes that start sandboxes as a host does.

    Args:
        path: The socket of the fork server.
        server: The process of the fork server.
        places: The sessions of one instance. Each starter starts a sandbox in each of them.
    """

    path: Path
    server: subprocess.Popen[bytes]
    places: Sequence[Place]

    def kill(self, delay_s: float) -> int:
        """Run a starter, kill it after a delay, require that no process is left, and return the depth of its tree."""
        with self._starting(exits=False) as (pid, connection, answers):
            ended, _, _ = select.select([connection], [], [], delay_s)
            assert not ended, f"the starter ended before its kill: {answers.readline()!r}"
            depth = max((process.depth for process in processes_below(pid)), default=0)
            os.kill(pid, signal.SIGKILL)
            assert json.loads(answers.readline()) == {"code": -signal.SIGKILL}
        self._await_end()
        return depth

    def measure(self) -> float:
        """Return the seconds that a starter needs for its sandboxes.

        It exits then and stops none of them.
        """
        with self._starting(exits=True) as (_, _, answers):
            began = time.monotonic()
            assert json.loads(answers.readline()) == {"code": 0}
            elapsed_s = time.monotonic() - began
        self._await_end()
        return elapsed_s

    @contextmanager
    def _starting(self, *, exits: bool) -> Iterator[tuple[int, socket.socket, BinaryIO]]:
        places = [cattrs.unstructure(evolve(place, environment={})) for place in self.places]
        with self._order(kind="starter", environment={}, places=places, exits=exits) as (connection, answers):
            yield json.loads(answers.readline())["pid"], connection, answers

    def _await_end(self) -> None:
        """Require that all processes of a starter end."""
        with self._order(kind="await_end") as (_, answers):
            try:
                assert json.loads(answers.readline()) == {"left": 0}
            except TimeoutError:
                pytest.fail(f"left behind: {[*processes_below(self.server.pid)]}")

    @contextmanager
    def _order(self, **order: Any) -> Iterator[tuple[socket.socket, BinaryIO]]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_S)
            connection.connect(str(self.path))
            connection.sendall(json.dumps(order).encode() + b"\n")
            with connection.makefile("rb") as answers:
                yield connection, answers


@pytest.fixture
def starters(short_directory: Path) -> Iterator[Starters]:
    """Yield a client of a fork server, for an instance with two sessions."""
    path, place = short_directory / "fork.sock", new_place(short_directory, PLUGIN, {})
    program: list[str | Path] = [sys.executable, Path(__file__).with_name("fork_server.py"), path]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield Starters(path, server, [place, place.other_session("b")])
        kill(processes_below(server.pid))


@pytest.mark.invariant(number=14)
@pytest.mark.bubblewrap
def test_killed_hosts_leave_no_process(starters: Starters, seed: int, request: pytest.FixtureRequest) -> None:
    """No sandbox without limits and no waiting bubblewrap outlives its host."""
    kills, dice = request.config.getoption("--kills", default=None) or KILLS_IN_CI, random.Random(seed)
    start_s = statistics.median(starters.measure() for _ in range(MEASURED_STARTS))
    moments = [BEYOND * start_s * (number + dice.random()) / kills for number in range(kills)]
    began = time.monotonic()
    depths = Counter(starters.kill(moment) for moment in moments)
    print(f"a start takes {start_s:.3f} s; {kills} kills in {time.monotonic() - began:.1f} s")
    print(f"kills by the depth of the host's tree: {dict(sorted(depths.items()))}")
    assert sum(count for depth, count in depths.items() if depth) > kills // 3, depths
    assert asyncio.run(connect(starters.places[0]).reap()) == 0
    assert not list((starters.places[0].home / "data/process/running").iterdir())
