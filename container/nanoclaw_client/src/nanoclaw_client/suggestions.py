"""Suggests a known word for an unknown one."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the most similar known word, or an empty string if none is similar."""
    from difflib import get_close_matches  # slow, so only for a mistyped word

    return next(iter(get_close_matches(word, list(known), n=1)), "")
