"""Whether an agent answers: a pure decision, in two steps, because a pattern is matched after admission alone."""

from __future__ import annotations

from enum import Enum

from nanoclaw_core.store.engage_patterns import EVERYTHING
from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy, Wiring


class Engagement(Enum):
    """What becomes of a message at one wiring, if the vote admits its sender."""

    ANSWER = "answer"
    ACCUMULATE = "accumulate"
    DROP = "drop"
    BY_PATTERN = "by pattern"  # the text decides, and it is matched after the vote


def decide(wiring: Wiring, *, is_mention: bool, is_sticky: bool) -> Engagement:
    """Decide what one wiring does with a message, without its text.

    Args:
        is_sticky: The agent was mentioned in this thread before; counts in mode MENTION_STICKY alone.
    """
    match wiring.engage_mode:
        case EngageMode.PATTERN if wiring.engage_pattern != EVERYTHING:
            return Engagement.BY_PATTERN
        case EngageMode.PATTERN:
            return Engagement.ANSWER
        case EngageMode.MENTION:
            return decide_matched(wiring, engages=is_mention)
        case EngageMode.MENTION_STICKY:
            return decide_matched(wiring, engages=is_mention or is_sticky)


def decide_matched(wiring: Wiring, *, engages: bool) -> Engagement:
    """Decide what one wiring does with a message that its mode engages for or not."""
    if engages:
        return Engagement.ANSWER
    return Engagement.ACCUMULATE if wiring.ignored_policy is IgnoredPolicy.ACCUMULATE else Engagement.DROP
