"""Gross regressions only: figures against what the machine itself costs in the same minute, with much room."""

from pathlib import Path

import pytest

from benchmarks import goals, message_way
from benchmarks.figures import Figure, quantile, table
from benchmarks.yardstick import commit_ms, python_ms

ROOM = 15  # how many times a figure may be what it was on a quiet machine, beside the same yardstick


@pytest.fixture(scope="module")
def yardstick(tmp_path_factory: pytest.TempPathFactory) -> float:
    """What a commit and a stretch of Python take here and now, in milliseconds together."""
    return commit_ms(tmp_path_factory.mktemp("yardstick")) + python_ms()


def test_a_warm_turn_costs_no_multiple_of_what_it_did(tmp_path: Path, yardstick: float) -> None:
    figures = {figure.goal: figure.value for figure in message_way.turns(tmp_path / "home", 20)}
    assert figures[goals.WARM_P50] < 0.9 * ROOM * yardstick
    assert figures[goals.BURST] < 3.5 * ROOM * yardstick


def test_routing_a_message_costs_no_multiple_of_the_cpu_it_did(tmp_path: Path, yardstick: float) -> None:
    figures = {figure.goal: figure.value for figure in message_way.routing(tmp_path / "home", 100)}
    assert figures[goals.ROUTE_CPU] < 0.1 * ROOM * yardstick


def test_the_table_says_which_targets_are_missed() -> None:
    shown = table([Figure(goal=goals.WARM_P50, value=9.0), Figure(goal=goals.ROUTE_TOGETHER, value=100.0)])
    assert [line.endswith("missed") for line in shown.splitlines()[2:]] == [False, True]


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
