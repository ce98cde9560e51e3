"""Records of the engage patterns that do not work: invalid ones, and those that timed out."""

from __future__ import annotations

import apsw
from attrs import frozen
from nanoclaw_untrusted import patterns
from nanoclaw_wire import clock

from nanoclaw_core.ids import WiringId

MATCH_ANY = "."  # matches every message, even an empty text with a file


@frozen(kw_only=True)
class PatternProblem:
    """A wiring with a pattern that does not work.

    `reason` continues the sentence "the pattern …".
    """

    wiring_id: str
    pattern: str
    reason: str


def has_timed_out(db: apsw.Connection, wiring_id: WiringId, pattern: str) -> bool:
    """Return True if this pattern of this wiring has exceeded its time limit before."""
    query = "SELECT 1 FROM pattern_timeouts WHERE wiring_id = ? AND pattern = ?"
    return db.execute(query, (wiring_id, pattern)).fetchone() is not None


def record_timeout(db: apsw.Connection, wiring_id: WiringId, pattern: str) -> None:
    """Record that a pattern exceeded its time limit."""
    db.execute("INSERT OR REPLACE INTO pattern_timeouts VALUES (?, ?, ?)", (wiring_id, pattern, clock.now_text()))


def problems(db: apsw.Connection) -> list[PatternProblem]:
    """Return the wirings with a pattern that is invalid or has timed out, oldest first.

    A database that no host of this version has opened yet has no record of timeouts.
    """
    query = "SELECT id, engage_pattern FROM wirings WHERE engage_mode = 'pattern' AND engage_pattern <> ?"
    invalid = [
        PatternProblem(wiring_id=wiring_id, pattern=pattern, reason=reason)
        for wiring_id, pattern in db.execute(f"{query} ORDER BY created_at, id", (MATCH_ANY,))
        if (reason := patterns.problem_of(pattern))
    ]
    if not db.table_exists("main", "pattern_timeouts"):
        return invalid
    query = (
        "SELECT id, engage_pattern FROM wirings JOIN pattern_timeouts ON wiring_id = id AND pattern = engage_pattern"
    )
    reason = f"exceeded its time limit of {patterns.TIME_LIMIT_S * 1000:.0f} ms"
    slow = db.execute(f"{query} ORDER BY created_at, id")
    return invalid + [PatternProblem(wiring_id=id_, pattern=pattern, reason=reason) for id_, pattern in slow]
