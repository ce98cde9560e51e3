"""Regular expressions from people, compiled and searched within limits, on an event loop.

The engine is `regex`: it has the dialect of `re` and stops after a given processor time (docs/decisions/0012). It is
imported with the first pattern, because a host without patterns needs neither its memory nor its 18 ms of import time.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from functools import lru_cache
from typing import Any

MAX_PATTERN_CHARACTERS = 500  # the slowest known pattern of this length takes 0.1 s to compile
MAX_COMPILED = 10_000  # parts: the engine expands repetitions, so (?:a{1000}){1000} would have a million
MAX_TEXT_CHARACTERS = 10_000  # the engine checks its clock only between scans of the text, so a scan must be short
TIME_LIMIT_S = 0.05
TIME_LIMIT_AFTER_TIMEOUT_S = 0.005  # a thousand times the duration of a usual pattern

_COUNT = re.compile(r"\{\s*(\d{1,9})")  # the minimum of repetitions; a literal brace counts too


class SearchResult(Enum):
    """The result of a search. A pattern that timed out counts as not matching."""

    FOUND = "found"
    NOT_FOUND = "not found"
    TIMED_OUT = "timed out"


def problem_of(pattern: str) -> str:
    """Return why a pattern is invalid, as in "is empty", or an empty text."""
    if not pattern:
        return "is empty"
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"is longer than {MAX_PATTERN_CHARACTERS} characters"
    if len(pattern) * math.prod(max(1, int(count)) for count in _COUNT.findall(pattern)) > MAX_COMPILED:
        return "has too many repetitions; use smaller numbers in {…}"
    return _compiled(pattern)[1]


def search(pattern: str, text: str, limit_s: float) -> SearchResult:
    """Search a text for a pattern, case-sensitively, within a time limit.

    Args:
        pattern: A regular expression in the dialect of `regex`.
        text: Only its first MAX_TEXT_CHARACTERS are searched; `$` matches at their end.
        limit_s: Processor seconds, so that a busy machine causes no timeout. The engine may take some milliseconds
            more.

    Returns:
        NOT_FOUND for an invalid pattern (I8).
    """
    if problem_of(pattern):
        return SearchResult.NOT_FOUND
    try:
        match = _compiled(pattern)[0].search(text, endpos=MAX_TEXT_CHARACTERS, timeout=limit_s)
    except TimeoutError:
        return SearchResult.TIMED_OUT
    return SearchResult.FOUND if match else SearchResult.NOT_FOUND


@lru_cache(maxsize=64)  # used for every message; the engine's own cache is slower and does not keep invalid patterns
def _compiled(pattern: str) -> tuple[Any, str]:
    import regex

    try:
        return regex.compile(pattern), ""
    except (regex.error, OverflowError, RecursionError, MemoryError) as error:  # hundreds of brackets cause the others
        return None, f"is not a regular expression: {error}"
