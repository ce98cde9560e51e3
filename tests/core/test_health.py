"""Stuck sandboxes: limits of heartbeat, claims, tool timeouts and idle time (⚠28)."""

from datetime import UTC, datetime, timedelta

import pytest
from nanoclaw_wire import clock
from nanoclaw_wire.outbound import Acknowledgement, AckStatus, Activity, RunnerState

from nanoclaw_core.sandboxes.health import MAX_TRIES, HealthSignals, pause_before_retry, stuck_reason
from nanoclaw_core.timing import Timing

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
    return stuck_reason(
        HealthSignals(
            now=NOW,
            started_at=ago(started_s),
            heartbeat_at=None if beat_s is None else ago(beat_s),
            claims=claims,
            state=state,
            ignored_since=None if ignored_s is None else ago(ignored_s),
        ),
        Timing(),
    )


def test_fresh_heartbeat_without_claims_is_healthy() -> None:
    assert reason(beat_s=5) == ""


def test_silence_of_half_an_hour_exceeds_the_ceiling() -> None:
    assert reason(beat_s=30 * 60 + 1) == "absolute-ceiling"
    assert reason(beat_s=30 * 60 - 1) == ""


def test_new_sandbox_needs_no_heartbeat() -> None:
    assert reason(beat_s=None, started_s=60) == ""


@pytest.mark.defect(number=28)
def test_silent_sandbox_is_counted_from_its_start() -> None:
    assert reason(beat_s=None, started_s=30 * 60 + 1) == "absolute-ceiling"


def test_heartbeat_of_an_earlier_sandbox_does_not_count() -> None:
    assert reason(beat_s=3 * 3600, started_s=60) == ""


def test_old_claim_without_heartbeat_is_stuck() -> None:
    assert reason(claim(61), beat_s=None, started_s=120) == "claim-stuck"


def test_declared_tool_timeout_extends_the_ceiling() -> None:
    assert reason(beat_s=45 * 60, state=runs("Bash", 3600)) == ""
    assert reason(beat_s=61 * 60, state=runs("Bash", 3600)) == "absolute-ceiling"


def test_old_claim_without_later_heartbeat_is_stuck() -> None:
    assert reason(claim(70), beat_s=80) == "claim-stuck"


def test_heartbeat_after_the_claim_is_healthy() -> None:
    assert reason(claim(600), beat_s=500) == ""


def test_heartbeat_a_tick_before_its_claim_is_healthy() -> None:
    """The coarse clock of the kernel may stamp a heartbeat earlier than the claim that it follows."""
    assert reason(claim(100), beat_s=100.01) == ""
    assert reason(claim(100), beat_s=101.5) == "claim-stuck"


def test_recent_claim_is_healthy() -> None:
    assert reason(claim(59), beat_s=80) == ""


def test_declared_tool_timeout_extends_the_claim_limit() -> None:
    assert reason(claim(100), beat_s=110, state=runs("Bash", 120)) == ""
    assert reason(claim(130), beat_s=140, state=runs("Bash", 120)) == "claim-stuck"


@pytest.mark.parametrize("text", ["", "soon", "\0"])
def test_claim_with_an_unreadable_time_is_ignored(text: str) -> None:
    assert reason(claim(text=text), beat_s=5) == ""


def test_one_stuck_claim_among_healthy_ones_is_stuck() -> None:
    assert reason(claim(text="soon"), claim(10), claim(90), beat_s=100) == "claim-stuck"


def test_idle_runner_without_messages_is_never_stuck() -> None:
    assert reason(beat_s=10 * 3600, state=runs(None, None, Activity.IDLE)) == ""


def test_idle_runner_that_ignores_a_message_is_stuck() -> None:
    assert reason(beat_s=600, state=runs(None, None, Activity.IDLE), ignored_s=61) == "not-listening"
    assert reason(beat_s=600, state=runs(None, None, Activity.IDLE), ignored_s=59) == ""


def test_message_that_waits_for_a_busy_runner_is_healthy() -> None:
    assert reason(claim(600), beat_s=5, state=runs("Bash", 600), ignored_s=300) == ""


def test_idle_runner_with_an_old_claim_is_stuck() -> None:
    assert reason(claim(90), beat_s=100, state=runs(None, None, Activity.IDLE)) == "claim-stuck"


def test_timeout_without_a_tool_extends_nothing() -> None:
    assert reason(beat_s=45 * 60, state=runs(None, 3600)) == "absolute-ceiling"


@pytest.mark.parametrize("timeout_s", [-5.0, 0.0, None])
def test_empty_tool_timeout_shortens_nothing(timeout_s: float | None) -> None:
    assert reason(beat_s=20 * 60, state=runs("Bash", timeout_s)) == ""


@pytest.mark.parametrize("timeout_s", [1e300, float("inf")])
def test_huge_tool_timeout_is_no_error(timeout_s: float) -> None:
    assert reason(claim(90), beat_s=100, state=runs("Bash", timeout_s)) == ""


def test_retry_pause_doubles_until_the_last_try() -> None:
    pauses = [pause_before_retry(tries, first_pause_s=5.0) for tries in range(MAX_TRIES + 2)]
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, None, None]
