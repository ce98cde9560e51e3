"""Decides how to recover from a failed turn."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import frozen
from nanoclaw_wire.events import Error


@frozen
class Retry:
    """Push the same prompt again after a pause."""

    pause_s: float


class Recovery(Enum):
    """The other outcomes: retry without the continuation, or tell people that the turn failed."""

    FORGET_CONTINUATION = "forget-continuation"
    GIVE_UP = "give-up"


def choose_recovery(error: Error, *, failures: int, is_stale: bool, pauses_s: Sequence[float]) -> Retry | Recovery:
    """Choose how to recover from the error of a turn.

    Args:
        error: The error.
        failures: How many turns over the same rows were retried before.
        is_stale: True if the provider does not know the continuation that the turn resumed.
        pauses_s: The pause before each retry.
    """
    if is_stale:
        return Recovery.FORGET_CONTINUATION
    if error.retryable and failures < len(pauses_s):
        return Retry(pauses_s[failures])
    return Recovery.GIVE_UP
