"""Converts values that a person wrote, in a file or as words, to the kind that a class declares."""

from __future__ import annotations

import math
from typing import Any

KIND_WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def as_number(kind: type, value: Any) -> int | float | None:
    """Convert a value to a number, even from a string, as typed or from `env:` and `file:`.

    Return None if it is not a number, or not a finite one: JSON and SQLite have no NaN (⚠17).
    """
    if isinstance(value, bool) or not isinstance(value, str | int | kind):
        return None
    try:
        number: int | float = kind(value)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None


def as_word(kind: type, value: Any) -> Any:
    """Convert a string or a boolean; None for others and for lone surrogates."""
    if isinstance(value, str) and value.encode("utf-8", "replace").decode() != value:
        return None
    if kind is bool and isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    return value if isinstance(value, kind) else None
