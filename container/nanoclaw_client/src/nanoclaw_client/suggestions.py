"""What was probably meant by a word that is no known one."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like this one; empty where none is."""
    from difflib import get_close_matches  # only those who mistyped wait for it

    return next(iter(get_close_matches(word, list(known), n=1)), "")
