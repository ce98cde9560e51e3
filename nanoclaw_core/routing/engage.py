"""Whether an agent answers: a pure decision."""

from __future__ import annotations

import re
from enum import Enum

from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy, Wiring


class Engagement(Enum):
    """What becomes of a message at one wiring, if the vote admits its sender."""

    ANSWER = "answer"
    KEEP = "keep"
    DROP = "drop"


def decide(wiring: Wiring, *, text: str, is_mention: bool, is_sticky: bool) -> Engagement:
    """Decide what one wiring does with a message.

    Args:
        is_sticky: The agent was mentioned in this thread before; counts in mode MENTION_STICKY alone.
    """
    match wiring.engage_mode:
        case EngageMode.PATTERN:
            engages = _matches(wiring.engage_pattern, text)
        case EngageMode.MENTION:
            engages = is_mention
        case EngageMode.MENTION_STICKY:
            engages = is_mention or is_sticky
    if engages:
        return Engagement.ANSWER
    return Engagement.KEEP if wiring.ignored_policy is IgnoredPolicy.ACCUMULATE else Engagement.DROP


def _matches(pattern: str | None, text: str) -> bool:
    if pattern == ".":
        return True  # everything, also an empty text that came with a file
    try:
        return pattern is not None and re.search(pattern, text) is not None
    except (re.error, OverflowError, RecursionError):
        return False  # refused where it is written; one that got in by another way engages nobody (I8)
