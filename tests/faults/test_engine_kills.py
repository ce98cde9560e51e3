"""`kill -9` of dockerd and containerd, of the host and of runners in real containers (I3, I4).

`./nanoclaw test tests/faults/test_engine_kills.py --engine-kills 300` for a long series.
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
def test_invariant_04_whatever_of_the_engine_is_killed_nothing_is_lost_or_doubled(
    short_directory: Path, engine_to_kill: RestartableEngine, seed: int, request: pytest.FixtureRequest
) -> None:
    series = make_engine_series(short_directory, seed, engine_to_kill, IMAGE)
    asyncio.run(series.run(request.config.getoption("--engine-kills", default=KILLS_IN_CI)))
    print(series.report())
    series.check()
