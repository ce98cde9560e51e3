"""Kills of dockerd, containerd, the host and runners in real containers (I3, I4).

Run `./nanoclaw test tests/faults/test_engine_kills.py --engine-kills 300` for a long series.
"""

import asyncio
from pathlib import Path

import pytest
from engine_fixtures import IMAGE
from engine_series import make_engine_series
from restartable_engine import RestartableEngine

KILLS_IN_CI = 15


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.invariant(number=4)
def test_kills_around_engine_lose_and_double_nothing(
    short_directory: Path, engine_to_kill: RestartableEngine, seed: int, request: pytest.FixtureRequest
) -> None:
    series = make_engine_series(short_directory, seed, engine_to_kill, IMAGE)
    asyncio.run(series.run(request.config.getoption("--engine-kills", default=KILLS_IN_CI)))
    print(series.report())
    series.check()
