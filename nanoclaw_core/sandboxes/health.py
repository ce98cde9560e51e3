"""When a sandbox is stuck, and what becomes of a message whose sandbox died over it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.outbound import Acknowledgement, Activity, RunnerState

MAX_SILENCE_S = 30 * 60.0
CLAIM_TOLERANCE_S = 60.0
CLOCK_TOLERANCE_S = 1.0  # a kernel's time for files is a tick old (10 ms), and some file systems count whole seconds
MAX_TRIES = 5


@frozen(kw_only=True)
class HealthSignals:
    """What is known of a running sandbox.

    Args:
        started_at: When its sandbox started.
        heartbeat_at: When its runner last showed life; None where it never did.
        claims: What the runner says it works on.
        state: What the runner says of itself; None where it said nothing.
        ignored_since: When a message was first seen that is due and that the runner has not taken yet; None where
            there is none.
    """

    now: datetime
    started_at: datetime
    heartbeat_at: datetime | None
    claims: Sequence[Acknowledgement]
    state: RunnerState | None
    ignored_since: datetime | None = None


def stuck_reason(signs: HealthSignals) -> str:
    """Say why a sandbox must be ended; empty where it need not.

    `absolute-ceiling`: nothing was heard for half an hour, counted from its start where it never spoke (⚠28).
    `claim-stuck`: a message was taken a minute ago and there was no sign of life since. The sign that comes with a
    claim counts, even if its time is up to `CLOCK_TOLERANCE_S` before the claim's. A later sign is not asked for: a
    machine that was suspended, a clock that was set and a tool that blocks the runner look like a runner that hangs.
    Both stretch to what the running tool asked for. For a runner that says it is idle neither counts, but
    `not-listening`: it has not taken a message for a minute, which is four of its looks.
    """
    allowed_s = _tool_timeout_s(signs.state)
    if signs.state is not None and signs.state.activity is Activity.IDLE and not signs.claims:
        ignored_s = (signs.now - (signs.ignored_since or signs.now)).total_seconds()
        return "not-listening" if ignored_s > CLAIM_TOLERANCE_S else ""
    last_sign = max(signs.heartbeat_at or signs.started_at, signs.started_at)
    if (signs.now - last_sign).total_seconds() > max(MAX_SILENCE_S, allowed_s):
        return "absolute-ceiling"
    for claim in signs.claims:
        claimed_at = _time_or_none(claim.changed_at)
        if claimed_at is None or _is_sign_since(signs.heartbeat_at, claimed_at):
            continue
        if (signs.now - claimed_at).total_seconds() > max(CLAIM_TOLERANCE_S, allowed_s):
            return "claim-stuck"
    return ""


def pause_before_retry(tries: int, first_pause_s: float) -> float | None:
    """Return how long a message waits after its sandbox died over it: doubling with each try, None: no more tries."""
    return None if tries >= MAX_TRIES else first_pause_s * 2.0**tries


def pause_before_start(failures: int, pauses_s: Sequence[float]) -> float:
    """Return the seconds to wait after a number of sandboxes that could not start or work; the last pause repeats."""
    return pauses_s[min(max(1, failures), len(pauses_s)) - 1]


def _tool_timeout_s(state: RunnerState | None) -> float:
    return state.tool_timeout_s or 0.0 if state is not None and state.tool else 0.0


def _is_sign_since(heartbeat_at: datetime | None, claimed_at: datetime) -> bool:
    return heartbeat_at is not None and (claimed_at - heartbeat_at).total_seconds() <= CLOCK_TOLERANCE_S


def _time_or_none(text: str) -> datetime | None:
    try:
        return clock.from_text(text)
    except ValueError:
        return None
