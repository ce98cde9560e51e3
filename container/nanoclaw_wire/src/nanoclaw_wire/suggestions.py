"""Suggests a known word for an unknown one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

MAX_CHARACTERS = 200  # compared of a word; the time grows with the length


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "", show: Callable[[str], str] = repr) -> str:
    """Return the sentence that suggests the most similar known word.

    Args:
        word: The unknown word.
        known: The words to choose from.
        otherwise: The sentence if no word is similar.
        show: Formats the suggested word, for example as a command.
    """
    from difflib import get_close_matches  # slow, so only for a mistyped word

    near = get_close_matches(word[:MAX_CHARACTERS], list(known), n=1)
    return f"Did you mean {show(near[0])}?" if near else otherwise
