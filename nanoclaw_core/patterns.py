"""Regular expressions that people write: compiled and searched within bounds, on the host's event loop.

A wiring's `engage_pattern` meets the texts of people in chats. The engine is `regex`: it has the dialect of `re` and
stops after a given processor time, see docs/decisions/0012. It is imported with the first pattern, because a host
without any needs neither its memory nor its 18 ms.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from functools import lru_cache
from typing import Any

MAX_PATTERN_CHARACTERS = 500  # the costliest pattern of this length that we found takes 0.1 s to compile
MAX_COMPILED = 10_000  # parts: the engine writes out what must repeat, so (?:a{1000}){1000} would be a million
MAX_TEXT_CHARACTERS = 10_000  # the engine looks at its clock between scans of the text, so a scan must be short
TIME_LIMIT_S = 0.05
TIME_LIMIT_AFTER_TIMEOUT_S = 0.005  # a thousand times what a usual pattern takes

_COUNT = re.compile(r"\{\s*(\d{1,9})")  # the least number of repetitions, also in places where a brace is only a brace


class SearchResult(Enum):
    """The result of a search. A pattern that timed out counts as not matching."""

    FOUND = "found"
    NOT_FOUND = "not found"
    TIMED_OUT = "timed out"


def problem_of(pattern: str) -> str:
    """Return why a pattern cannot be used, as "is empty", to follow its name; an empty text if it can."""
    if not pattern:
        return "is empty"
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"is no regular expression of at most {MAX_PATTERN_CHARACTERS} characters"
    if len(pattern) * math.prod(max(1, int(count)) for count in _COUNT.findall(pattern)) > MAX_COMPILED:
        return "repeats too much; use smaller numbers in {…}"
    return _compiled(pattern)[1]


def search(pattern: str, text: str, limit_s: float) -> SearchResult:
    """Search a text for a pattern, case-sensitively, within a limit.

    Args:
        text: Only its first MAX_TEXT_CHARACTERS are searched; `$` matches where they end.
        limit_s: Processor seconds, so that a busy machine makes no pattern time out. The engine may take some
            milliseconds more.

    Returns:
        NOT_FOUND for a pattern that cannot be used (I8).
    """
    if problem_of(pattern):
        return SearchResult.NOT_FOUND
    try:
        found = _compiled(pattern)[0].search(text, endpos=MAX_TEXT_CHARACTERS, timeout=limit_s)
    except TimeoutError:
        return SearchResult.TIMED_OUT
    return SearchResult.FOUND if found else SearchResult.NOT_FOUND


@lru_cache(maxsize=64)  # asked for every message; the engine's own cache is slower and forgets what does not compile
def _compiled(pattern: str) -> tuple[Any, str]:
    import regex

    try:
        return regex.compile(pattern), ""
    except (regex.error, OverflowError, RecursionError, MemoryError) as error:  # the others: hundreds of brackets
        return None, f"is no regular expression: {error}"
