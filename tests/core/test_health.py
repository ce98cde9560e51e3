"""When a sandbox is stuck: reference §10.5, 1 to 10, and ⚠28."""

from datetime import UTC, datetime, timedelta

import pytest
from nanoclaw_wire import clock
from nanoclaw_wire.outbound import Acknowledgement, AckStatus, Activity, RunnerState

from nanoclaw_core.sandboxes.health import TRIES_AT_MOST, HealthSignals, pause_before_retry, why_stuck

NOW = datetime(2026, 1, 5, 15, 4, tzinfo=UTC)
DAY_S = 86_400.0


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def claim(seconds_ago: float | None = None, text: str = "") -> Acknowledgement:
    at = clock.to_text(ago(seconds_ago)) if seconds_ago is not None else text
    return Acknowledgement(message_id="m", status=AckStatus.PROCESSING, changed_at=at, revision=1)


def runs(tool: str | None, timeout_s: float | None, activity: Activity = Activity.BUSY) -> RunnerState:
    return RunnerState(
        activity=activity, tool=tool, tool_timeout_s=timeout_s, tool_started_at=None, updated_at=clock.to_text(NOW)
    )


def reason(
    *claims: Acknowledgement,
    beat_s: float | None,
    started_s: float = DAY_S,
    state: RunnerState | None = None,
    ignored_s: float | None = None,
) -> str:
    return why_stuck(
        HealthSignals(
            now=NOW,
            started_at=ago(started_s),
            heartbeat_at=None if beat_s is None else ago(beat_s),
            claims=claims,
            state=state,
            ignored_since=None if ignored_s is None else ago(ignored_s),
        )
    )


def test_01_a_fresh_heartbeat_without_claims_is_well() -> None:
    assert reason(beat_s=5) == ""


def test_02_silence_for_more_than_half_an_hour_is_the_ceiling() -> None:
    assert reason(beat_s=30 * 60 + 1) == "absolute-ceiling"
    assert reason(beat_s=30 * 60 - 1) == ""


def test_03_a_sandbox_that_just_started_needs_no_heartbeat() -> None:
    assert reason(beat_s=None, started_s=60) == ""


def test_warning_28_a_sandbox_that_never_spoke_is_counted_from_its_start() -> None:
    assert reason(beat_s=None, started_s=30 * 60 + 1) == "absolute-ceiling"


def test_a_heartbeat_that_an_earlier_sandbox_left_does_not_count() -> None:
    assert reason(beat_s=3 * 3600, started_s=60) == ""


def test_04_an_old_claim_without_any_heartbeat_is_stuck() -> None:
    assert reason(claim(61), beat_s=None, started_s=120) == "claim-stuck"


def test_05_a_tool_that_asked_for_longer_stretches_the_ceiling() -> None:
    assert reason(beat_s=45 * 60, state=runs("Bash", 3600)) == ""
    assert reason(beat_s=61 * 60, state=runs("Bash", 3600)) == "absolute-ceiling"


def test_06_a_claim_older_than_a_minute_and_than_the_heartbeat_is_stuck() -> None:
    assert reason(claim(70), beat_s=80) == "claim-stuck"


def test_07_a_heartbeat_after_the_claim_is_well() -> None:
    assert reason(claim(600), beat_s=500) == ""


def test_heartbeat_a_tick_before_its_claim_is_well() -> None:
    """The beat of a claim may have an earlier time than the claim, where the kernel's coarse clock stamped it."""
    assert reason(claim(100), beat_s=100.01) == ""
    assert reason(claim(100), beat_s=101.5) == "claim-stuck"


def test_08_a_young_claim_is_well() -> None:
    assert reason(claim(59), beat_s=80) == ""


def test_09_a_tool_that_asked_for_longer_stretches_the_claim() -> None:
    assert reason(claim(100), beat_s=110, state=runs("Bash", 120)) == ""
    assert reason(claim(130), beat_s=140, state=runs("Bash", 120)) == "claim-stuck"


@pytest.mark.parametrize("text", ["", "soon", "\0"])
def test_10_a_claim_whose_time_cannot_be_read_is_ignored(text: str) -> None:
    assert reason(claim(text=text), beat_s=5) == ""


def test_one_stuck_claim_among_good_ones_is_enough() -> None:
    assert reason(claim(text="soon"), claim(10), claim(90), beat_s=100) == "claim-stuck"


def test_a_runner_that_says_it_is_idle_and_has_nothing_to_do_is_never_stuck() -> None:
    assert reason(beat_s=10 * 3600, state=runs(None, None, Activity.IDLE)) == ""


def test_a_runner_that_says_it_is_idle_and_takes_no_message_is_stuck() -> None:
    assert reason(beat_s=600, state=runs(None, None, Activity.IDLE), ignored_s=61) == "not-listening"
    assert reason(beat_s=600, state=runs(None, None, Activity.IDLE), ignored_s=59) == ""


def test_a_message_that_waits_for_the_end_of_a_turn_is_no_sign() -> None:
    assert reason(claim(600), beat_s=5, state=runs("Bash", 600), ignored_s=300) == ""


def test_a_runner_that_says_it_is_idle_and_holds_a_message_is_not_believed() -> None:
    assert reason(claim(90), beat_s=100, state=runs(None, None, Activity.IDLE)) == "claim-stuck"


def test_a_time_without_a_tool_stretches_nothing() -> None:
    assert reason(beat_s=45 * 60, state=runs(None, 3600)) == "absolute-ceiling"


@pytest.mark.parametrize("timeout_s", [-5.0, 0.0, None])
def test_a_tool_that_asks_for_nothing_shortens_nothing(timeout_s: float | None) -> None:
    assert reason(beat_s=20 * 60, state=runs("Bash", timeout_s)) == ""


@pytest.mark.parametrize("timeout_s", [1e300, float("inf")])
def test_a_tool_that_asks_for_more_than_a_clock_can_count_is_no_error(timeout_s: float) -> None:
    assert reason(claim(90), beat_s=100, state=runs("Bash", timeout_s)) == ""


def test_a_message_waits_longer_after_each_sandbox_that_died_over_it_and_then_no_more() -> None:
    pauses = [pause_before_retry(tries, first_pause_s=5.0) for tries in range(TRIES_AT_MOST + 2)]
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, None, None]
