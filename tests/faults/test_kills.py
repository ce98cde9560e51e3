"""`kill -9` at random points of running conversations (I3, I4).

`./nanoclaw test tests/faults/test_kills.py --kills 10000` for a long series; `--seed` to repeat one. What is random are
the moments and the victims; what the machine makes of them differs from run to run.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest
from series import Series
from stages import Stage

KILLS_IN_CI = 300
ENOUGH_FOR_ALL_STAGES = 75  # the rarest stage is met by every seventh kill
SHARES = {("host",): 0.45, ("runner",): 0.25, ("host", "runner"): 0.3}


@pytest.mark.slow
@pytest.mark.parametrize("victims", SHARES, ids="-and-".join)
def test_invariant_04_whoever_is_killed_nothing_is_lost_doubled_or_overtaken(
    short_directory: Path, victims: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    total = request.config.getoption("--kills", default=KILLS_IN_CI)
    seed = request.config.getoption("--seed", default=None) or random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    series = Series(short_directory, seed, victims)
    began = time.monotonic()
    asyncio.run(series.run(round(total * SHARES[victims])))
    print(f"{series.summary()}\n{time.monotonic() - began:.0f} s")
    series.check()
    if series.kills >= ENOUGH_FOR_ALL_STAGES:
        assert set(Stage) - {Stage.IN_A_COMMIT} <= set(series.met), "the kills did not come at all stages"
