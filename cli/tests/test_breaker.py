"""The start-up circuit breaker: the delays of reference §2.0, and files that say nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_cli import breaker
from nanoclaw_cli.breaker import WINDOW_S, count_start

NOW = 1_770_000_000.0


def starts(path: Path, count: int, every_s: float) -> list[float]:
    return [count_start(path, NOW + number * every_s) for number in range(count)]


def test_starts_in_quick_succession_wait_longer_and_longer(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 9, 1.0) == [0, 0, 10, 30, 120, 300, 900, 900, 900]


def test_a_start_just_within_the_hour_still_counts(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 4, WINDOW_S - 1)[-1] == 30


def test_a_start_an_hour_later_is_a_first_one(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 4, WINDOW_S) == [0, 0, 0, 0]


def test_a_clock_that_was_put_back_makes_a_first_start(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 4, -10.0) == [0, 0, 0, 0]


def test_a_start_is_noted_before_the_wait(tmp_path: Path) -> None:
    starts(tmp_path / "breaker.json", 3, 1.0)
    assert json.loads((tmp_path / "breaker.json").read_text()) == {"attempt": 3, "timestamp": NOW + 2}


def test_a_stop_in_order_forgets_all_starts(tmp_path: Path) -> None:
    starts(tmp_path / "breaker.json", 5, 1.0)
    breaker.reset(tmp_path / "breaker.json")
    breaker.reset(tmp_path / "breaker.json")
    assert count_start(tmp_path / "breaker.json", NOW) == 0


def test_the_directory_is_made_where_it_is_missing(tmp_path: Path) -> None:
    assert count_start(tmp_path / "data" / "breaker.json") == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"x"',
        '{"attempt": 3}',
        '{"attempt": "many", "timestamp": 0}',
        '{"attempt": null, "timestamp": 0}',
        '{"attempt": Infinity, "timestamp": 1770000000}',
        '{"attempt": 3, "timestamp": NaN}',
        '{"attempt": -100, "timestamp": 1770000000}',
        "[" * 100_000,
    ],
)
def test_a_file_that_says_nothing_is_a_first_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "breaker.json"
    path.write_text(text)
    assert count_start(path, NOW) == 0
    assert count_start(path, NOW) == 0


NUMBERS = st.integers() | st.floats() | st.none() | st.text()


@given(st.fixed_dictionaries({"attempt": NUMBERS, "timestamp": NUMBERS | st.just(NOW)}))
def test_no_file_keeps_a_host_from_starting(tmp_path_factory: pytest.TempPathFactory, found: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "breaker.json"
    path.write_text(json.dumps(found))
    assert 0 <= count_start(path, NOW) <= 900
