"""The pace of requests and connections. Pure functions of a time."""

from __future__ import annotations

import pytest
from nanoclaw_resource_gateway.pace import MAX_DELAY_S, Pace


def test_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    pace = Pace(per_s=10, burst=3)
    assert [pace.next_delay_s(50.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_many_events_at_once_take_their_share_of_the_rate() -> None:
    pace = Pace(per_s=10, burst=3)
    assert [pace.next_delay_s(50.0, 4) for _ in range(2)] == pytest.approx([0.1, 0.5])


def test_burst_is_free_again_after_a_pause() -> None:
    pace = Pace(per_s=10, burst=3)
    for _ in range(6):
        pace.next_delay_s(50.0)
    assert [pace.next_delay_s(51.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_delay_never_exceeds_its_limit() -> None:
    pace = Pace(per_s=10, burst=3)
    assert max(pace.next_delay_s(50.0) for _ in range(1_000)) == MAX_DELAY_S
    assert pace.next_delay_s(50.0 + 2 * MAX_DELAY_S) == 0
