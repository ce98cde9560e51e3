"""Tests for gross regressions: figures relative to the machine's own speed in the same minute, with a wide margin."""

from pathlib import Path

import pytest

from benchmarks import message_path, targets
from benchmarks.figures import Figure, quantile, table
from benchmarks.machine_baseline import commit_ms, python_ms

pytestmark = pytest.mark.xdist_group("benchmarks")

MARGIN = 15  # the allowed multiple of the figure of a quiet machine, relative to the same baseline


@pytest.fixture(scope="module")
def machine_baseline(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The milliseconds that a commit and a fixed stretch of Python take together on this machine now."""
    return commit_ms(tmp_path_factory.mktemp("machine_baseline")) + python_ms()


def test_warm_turn_stays_within_its_margin(tmp_path: Path, machine_baseline: float) -> None:
    figures = {figure.metric: figure.value for figure in message_path.turns(tmp_path / "home", 20)}
    assert figures[targets.WARM_P50] < 0.9 * MARGIN * machine_baseline
    assert figures[targets.BURST] < 3.5 * MARGIN * machine_baseline


def test_routing_stays_within_its_margin_of_cpu(tmp_path: Path, machine_baseline: float) -> None:
    figures = {figure.metric: figure.value for figure in message_path.routing(tmp_path / "home", 100)}
    assert figures[targets.ROUTE_CPU] < 0.1 * MARGIN * machine_baseline


def test_table_marks_missed_targets() -> None:
    shown = table([Figure(metric=targets.WARM_P50, value=9.0), Figure(metric=targets.ROUTE_TOGETHER, value=100.0)])
    assert [line.endswith("missed") for line in shown.splitlines()[2:]] == [False, True]


def test_quantile_is_a_measured_value() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
