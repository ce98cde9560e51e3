"""The start-up circuit breaker: its delays, and invalid files."""

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


def test_count_start_delays_grow_with_repeated_starts(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 9, 1.0) == [0, 0, 10, 30, 120, 300, 900, 900, 900]


def test_count_start_within_an_hour_still_counts(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 4, WINDOW_S - 1)[-1] == 30


def test_count_start_after_an_hour_is_a_first_start(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 4, WINDOW_S) == [0, 0, 0, 0]


def test_count_start_after_a_clock_step_is_a_first_start(tmp_path: Path) -> None:
    assert starts(tmp_path / "breaker.json", 4, -10.0) == [0, 0, 0, 0]


def test_count_start_records_before_the_delay(tmp_path: Path) -> None:
    starts(tmp_path / "breaker.json", 3, 1.0)
    assert json.loads((tmp_path / "breaker.json").read_text()) == {"attempt": 3, "timestamp": NOW + 2}


def test_reset_deletes_the_record_of_starts(tmp_path: Path) -> None:
    starts(tmp_path / "breaker.json", 5, 1.0)
    breaker.reset(tmp_path / "breaker.json")
    breaker.reset(tmp_path / "breaker.json")
    assert count_start(tmp_path / "breaker.json", NOW) == 0


def test_count_start_creates_a_missing_directory(tmp_path: Path) -> None:
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
def test_count_start_with_an_invalid_file_is_a_first_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "breaker.json"
    path.write_text(text)
    assert count_start(path, NOW) == 0
    assert count_start(path, NOW) == 0


NUMBERS = st.integers() | st.floats() | st.none() | st.text()


@given(st.fixed_dictionaries({"attempt": NUMBERS, "timestamp": NUMBERS | st.just(NOW)}))
def test_count_start_survives_any_file(tmp_path_factory: pytest.TempPathFactory, record: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "breaker.json"
    path.write_text(json.dumps(record))
    assert 0 <= count_start(path, NOW) <= 900
