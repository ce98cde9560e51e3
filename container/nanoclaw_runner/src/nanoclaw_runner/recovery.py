"""Decides how to recover from a failed turn."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import frozen
from nanoclaw_wire.events import Error


@frozen
class Retry:
    """Push the same prompt again after a delay."""

    delay_s: float


class Recovery(Enum):
    """The other outcomes: start without the continuation, or tell people that the turn failed."""

    START_ANEW = "start-anew"
    GIVE_UP = "give-up"


def after(error: Error, *, failures: int, can_start_anew: bool, delays_s: Sequence[float]) -> Retry | Recovery:
    """Decide how to recover from the error of a turn.

    Args:
        error: The error.
        failures: How many turns over the same rows were retried before.
        can_start_anew: True if the provider does not know the continuation, for the first time.
        delays_s: The delay before each retry.
    """
    if can_start_anew:
        return Recovery.START_ANEW
    if error.retryable and failures < len(delays_s):
        return Retry(delays_s[failures])
    return Recovery.GIVE_UP
