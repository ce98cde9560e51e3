"""Engagement: whether an agent answers a message, keeps it as context, or ignores it."""

from __future__ import annotations

import logging

import apsw
from nanoclaw_untrusted import patterns
from nanoclaw_untrusted.patterns import SearchResult

from nanoclaw_core.descriptors.messages import Outcome
from nanoclaw_core.store import engage_patterns
from nanoclaw_core.store.engage_patterns import MATCH_ANY
from nanoclaw_core.store.messaging import EngageMode, IgnoredPolicy, Wiring

log = logging.getLogger(__name__)


def decide(wiring: Wiring, *, is_mention: bool, is_sticky: bool) -> Outcome | None:
    """Decide without the text of a message: ROUTED, ACCUMULATED or IGNORED. None if its text decides.

    Args:
        is_sticky: The agent was mentioned in this thread before; counts in mode MENTION_STICKY alone.
    """
    match wiring.engage_mode:
        case EngageMode.PATTERN if wiring.engage_pattern != MATCH_ANY:
            return None
        case EngageMode.PATTERN:
            return Outcome.ROUTED
        case EngageMode.MENTION:
            return decide_matched(wiring, engages=is_mention)
        case EngageMode.MENTION_STICKY:
            return decide_matched(wiring, engages=is_mention or is_sticky)


def decide_matched(wiring: Wiring, *, engages: bool) -> Outcome:
    """Decide about a message that the wiring's mode engages for, or not."""
    if engages:
        return Outcome.ROUTED
    return Outcome.ACCUMULATED if wiring.ignored_policy is IgnoredPolicy.ACCUMULATE else Outcome.IGNORED


def matches_text(db: apsw.Connection, wiring: Wiring, text: str) -> bool:
    """Search an admitted message for the wiring's pattern. A pattern that timed out once gets a tenth of the time."""
    pattern = wiring.engage_pattern or ""
    is_slow = engage_patterns.has_timed_out(db, wiring.id, pattern)
    limit_s = patterns.TIME_LIMIT_AFTER_TIMEOUT_S if is_slow else patterns.TIME_LIMIT_S
    result = patterns.search(pattern, text, limit_s)
    if result is SearchResult.TIMED_OUT and not is_slow:
        engage_patterns.record_timeout(db, wiring.id, pattern)
        log.warning("engage pattern timed out", extra={"wiring": wiring.id, "pattern": pattern})
    return result is SearchResult.FOUND
