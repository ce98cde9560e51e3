"""Kills at random moments of running conversations, on an unreliable platform (I3, I4).

Run `./nanoclaw test --long tests/faults/test_kills.py` for the long series. `--kills` sets the length, `--seed` repeats
a series. The seed fixes the moments and the targets, but the machine's timing differs from run to run.
"""

import asyncio
import time
from pathlib import Path

import pytest
from bubblewrap_series import make_bubblewrap_series
from harness import HALL, PAIR, YARD
from kill_series import ROOMS, KillSeries, OutagePlan
from message_stages import Stage

KILLS_IN_CI = 80
KILLS_IN_LONG = 2_000
BUBBLEWRAP_KILLS_IN_CI = 8
BUBBLEWRAP_KILLS_IN_LONG = 300
ENOUGH_FOR_ALL_STAGES = 75  # every seventh kill meets the rarest stage
TARGETS = ("host", "host", "host", "runner", "runner", "runners", "platform")
SHORT_OUTAGES = OutagePlan(works_s=(1.0, 3.0), outage_s=(0.8, 1.6))  # longer than the sum of the delivery pauses
LONG_OUTAGES = OutagePlan(works_s=(30.0, 60.0), outage_s=(60.0, 150.0))
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
def test_kills_in_short_outages_lose_and_double_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Each message is answered once if hosts, runners and the platform die while agents use tools."""
    kills = request.config.getoption("--kills", default=None) or KILLS_IN_CI
    run(KillSeries(short_directory, seed, TARGETS, outage_plan=SHORT_OUTAGES), kills)


@pytest.mark.slow
@pytest.mark.invariant(number=4)
def test_kills_of_host_keep_the_order_of_answers(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Without tools, answers keep the order of the messages if hosts die and the platform fails."""
    kills = request.config.getoption("--kills", default=None) or KILLS_IN_CI
    run(KillSeries(short_directory, seed, ("host",), outage_plan=SHORT_OUTAGES, has_tools=False), kills // 2)


@pytest.mark.bubblewrap
@pytest.mark.invariant(number=4)
def test_kills_around_bubblewrap_lose_and_double_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Hosts, runners and bubblewrap die while agents work in real sandboxes."""
    kills = request.config.getoption("--kills", default=None) or BUBBLEWRAP_KILLS_IN_CI
    run(make_bubblewrap_series(short_directory, seed, FEW_ROOMS), kills)


@pytest.mark.long
@pytest.mark.bubblewrap
@pytest.mark.invariant(number=4)
def test_many_kills_around_bubblewrap_lose_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Hosts, runners and bubblewrap die hundreds of times, on an unreliable platform."""
    kills = request.config.getoption("--kills", default=None) or BUBBLEWRAP_KILLS_IN_LONG
    run(make_bubblewrap_series(short_directory, seed, ROOMS, SHORT_OUTAGES), kills)


@pytest.mark.long
@pytest.mark.invariant(number=4)
def test_kills_in_long_outages_lose_and_double_nothing(
    short_directory: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Processes die thousands of times, in outages of minutes and with the delivery pauses of a real instance."""
    kills = request.config.getoption("--kills", default=None) or KILLS_IN_LONG
    core = {"delivery_pauses_s": [2.0, 15.0, 60.0]}
    series = KillSeries(short_directory, seed, TARGETS, core=core, outage_plan=LONG_OUTAGES, longest_life_s=0.7)
    run(series, kills)
