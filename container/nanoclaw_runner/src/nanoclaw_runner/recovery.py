"""Decides what happens after a turn failed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import frozen
from nanoclaw_wire.events import Error

RETRY_DELAYS_S = (2.0, 8.0, 30.0)  # 40 s in all: longer than most hiccups of a model, shorter than people's timeouts


@frozen
class Retry:
    """Tell the model the same once more, after so many seconds."""

    delay_s: float


class Verdict(Enum):
    """What else may happen: start without the continuation, or tell people that it failed."""

    START_ANEW = "start-anew"
    GIVE_UP = "give-up"


def after(error: Error, *, failures: int, can_start_anew: bool, delays_s: Sequence[float]) -> Retry | Verdict:
    """Decide.

    Args:
        failures: How many turns over the same rows were tried again already.
        can_start_anew: True where the provider no longer knows the continuation it was given, for the first time.
    """
    if can_start_anew:
        return Verdict.START_ANEW
    if error.retryable and failures < len(delays_s):
        return Retry(delays_s[failures])
    return Verdict.GIVE_UP
