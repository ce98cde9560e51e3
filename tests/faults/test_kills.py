"""`kill -9` at random points of running conversations, on a platform that fails at times (I3, I4).

`./nanoclaw test --long tests/faults/test_kills.py` for the long series, `--kills` for another length, `--seed` to
repeat one. The moments and the victims are random; what the machine makes of them differs from run to run.
"""

import asyncio
import time
from pathlib import Path

import pytest
from bubblewrap_series import make_bubblewrap_series
from harness import HALL, PAIR, YARD
from kill_series import ROOMS, KillSeries, Weather
from message_stages import Stage

KILLS_IN_CI = 80
KILLS_IN_LONG = 2_000
BUBBLEWRAP_KILLS_IN_CI = 8
BUBBLEWRAP_KILLS_IN_LONG = 300
ENOUGH_FOR_ALL_STAGES = 75  # the rarest stage is met by every seventh kill
VICTIMS = ("host", "host", "host", "runner", "runner", "runners", "platform")
GUSTS = Weather(works_s=(1.0, 3.0), outage_s=(0.8, 1.6))  # longer than the pauses of the series together
OUTAGES = Weather(works_s=(30.0, 60.0), outage_s=(60.0, 150.0))
FEW_ROOMS = (HALL, YARD, PAIR)  # three sandboxes; each takes half a second of the processor until it is ready
RARE = {Stage.IN_A_COMMIT}


def run(series: KillSeries, kills: int) -> None:
    began = time.monotonic()
    asyncio.run(series.run(kills))
    print(f"{series.report()}\n{time.monotonic() - began:.0f} s")
    series.check()
    if series.kills >= ENOUGH_FOR_ALL_STAGES:
        rare = RARE if series.has_tools else {*RARE, Stage.IN_A_TOOL}
        assert set(Stage) - rare <= set(series.met), f"the kills did not come at all stages\n{series.report()}"


@pytest.mark.slow
@pytest.mark.invariant(number=4)
def test_kills_in_gusts_lose_and_double_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Whatever is killed while agents use tools and the platform fails at times, each message is answered once."""
    kills = request.config.getoption("--kills", default=None) or KILLS_IN_CI
    run(KillSeries(short_directory, seed, VICTIMS, weather=GUSTS), kills)


@pytest.mark.slow
@pytest.mark.invariant(number=4)
def test_kills_of_host_keep_the_order_of_answers(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Hosts are killed and the platform fails at times; without tools, answers come in the order of the messages."""
    kills = request.config.getoption("--kills", default=None) or KILLS_IN_CI
    run(KillSeries(short_directory, seed, ("host",), weather=GUSTS, has_tools=False), kills // 2)


@pytest.mark.bubblewrap
@pytest.mark.invariant(number=4)
def test_kills_around_bubblewrap_lose_and_double_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Hosts, runners and bubblewrap itself are killed while agents work in real sandboxes."""
    kills = request.config.getoption("--kills", default=None) or BUBBLEWRAP_KILLS_IN_CI
    run(make_bubblewrap_series(short_directory, seed, FEW_ROOMS), kills)


@pytest.mark.long
@pytest.mark.bubblewrap
@pytest.mark.invariant(number=4)
def test_many_kills_around_bubblewrap_lose_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Hundreds of kills around real sandboxes, on a platform that fails at times."""
    kills = request.config.getoption("--kills", default=None) or BUBBLEWRAP_KILLS_IN_LONG
    run(make_bubblewrap_series(short_directory, seed, ROOMS, GUSTS), kills)


@pytest.mark.long
@pytest.mark.invariant(number=4)
def test_kills_in_outages_lose_and_double_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Thousands of kills, with outages of minutes and the pauses of a real instance."""
    kills = request.config.getoption("--kills", default=None) or KILLS_IN_LONG
    core = {"delivery_pauses_s": [2.0, 15.0, 60.0]}
    series = KillSeries(short_directory, seed, VICTIMS, core=core, weather=OUTAGES, longest_life_s=0.7)
    run(series, kills)
