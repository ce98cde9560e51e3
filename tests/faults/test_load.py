"""What is much at once: a message of 10 MB, and a thousand messages in a second, through real runners."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from series import ROOMS, Series


@pytest.fixture
def series() -> Iterator[Series]:
    with tempfile.TemporaryDirectory(prefix="nc-") as path:
        yield Series(Path(path), 0, ("host",))


def test_a_message_of_10_mb_is_answered(series: Series) -> None:
    asyncio.run(series.run_quietly([(ROOMS[0], "m-1 " + "x" * 10_000_000)]))
    ((_, answer),) = series.platform.shown.values()
    assert len(answer) == 1_000_000
    assert answer.endswith("too long]")


@pytest.mark.slow
def test_invariant_04_a_thousand_messages_at_once_are_all_answered_in_order(series: Series) -> None:
    asyncio.run(series.run_quietly([(ROOMS[number % 3], f"m-{number}") for number in range(1, 1001)]))
    series.check()
