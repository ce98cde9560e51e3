"""Health of sandboxes: pure rules that find a stuck sandbox and set the pauses after failures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.outbound import Acknowledgement, Activity, RunnerState

from nanoclaw_core.timing import Timing

CLOCK_TOLERANCE_S = 1.0  # file times lag by a kernel tick (10 ms), and some file systems store whole seconds
MAX_TRIES = 5  # failed tries of one message, by deaths of its sandbox and by damage of its session


@frozen(kw_only=True)
class HealthSignals:
    """The observed signals of a running sandbox.

    Args:
        started_at: Start time of the sandbox.
        heartbeat_at: Time of the runner's last heartbeat; None if there was none.
        claims: The messages that the runner has claimed.
        state: The runner's reported state; None if it reported none.
        ignored_since: Time since which a due message is unclaimed; None if all due messages are claimed.
    """

    now: datetime
    started_at: datetime
    heartbeat_at: datetime | None
    claims: Sequence[Acknowledgement]
    state: RunnerState | None
    ignored_since: datetime | None = None


def stuck_reason(signals: HealthSignals, timing: Timing) -> str:
    """Return the reason why a sandbox must be stopped, or an empty text.

    `absolute-ceiling`: no heartbeat for `max_silence_s`, counted from the start if there was none (⚠28). `claim-stuck`:
    a message was claimed more than `claim_tolerance_s` ago, and there was no heartbeat since. The heartbeat of the
    claim itself counts, even if its time is up to `CLOCK_TOLERANCE_S` before the claim's. No later heartbeat is
    required: after a suspended machine, a changed clock or a tool that blocks the runner, a healthy runner looks like a
    stuck one. Both limits grow to the timeout of the running tool. An idle runner is only checked for `not-listening`:
    it left a message unclaimed for `claim_tolerance_s`.
    """
    allowed_s = _tool_timeout_s(signals.state)
    if signals.state is not None and signals.state.activity is Activity.IDLE and not signals.claims:
        ignored_s = (signals.now - (signals.ignored_since or signals.now)).total_seconds()
        return "not-listening" if ignored_s > timing.claim_tolerance_s else ""
    last_heartbeat = max(signals.heartbeat_at or signals.started_at, signals.started_at)
    if (signals.now - last_heartbeat).total_seconds() > max(timing.max_silence_s, allowed_s):
        return "absolute-ceiling"
    for claim in signals.claims:
        claimed_at = clock.from_untrusted_text(claim.changed_at)
        if claimed_at is None or _is_heartbeat_since(signals.heartbeat_at, claimed_at):
            continue
        if (signals.now - claimed_at).total_seconds() > max(timing.claim_tolerance_s, allowed_s):
            return "claim-stuck"
    return ""


def pause_before_retry(tries: int, first_pause_s: float) -> float | None:
    """Return the seconds before a message's next try, doubling; None after the last try."""
    return None if tries >= MAX_TRIES else first_pause_s * 2.0**tries


def pause_before_start(failures: int, pauses_s: Sequence[float]) -> float:
    """Return the seconds before the next sandbox after a number of failures; the last pause repeats."""
    return pauses_s[min(max(1, failures), len(pauses_s)) - 1]


def _tool_timeout_s(state: RunnerState | None) -> float:
    return state.tool_timeout_s or 0.0 if state is not None and state.tool else 0.0


def _is_heartbeat_since(heartbeat_at: datetime | None, claimed_at: datetime) -> bool:
    return heartbeat_at is not None and (claimed_at - heartbeat_at).total_seconds() <= CLOCK_TOLERANCE_S
