"""Text that is safe to print on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

# Line ends, spaces of other scripts, and the joiners of letters and emoji.
_ALLOWED = frozenset("\n\t\u00a0\u202f\u3000\u200c\u200d")
# Printable for Python, but without ink: fillers of Hangul, Braille, Khmer and music, and selectors of variants. One
# selector after an emoji is usual.
_NO_INK = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0"
    "\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef"
)
_HIDDEN = re.compile(f"[{_NO_INK}]|(?<=[\ufe00-\ufe0f])[\ufe0e\ufe0f]")
MAX_BLANKS = 20  # in a row; more could push the rest of a text out of sight
_BLANKS = re.compile(rf"[\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff{_NO_INK}]{{{MAX_BLANKS + 1},}}")


def terminal_safe(text: str) -> str:
    """Escape characters that control a terminal, change the text direction, or have no ink.

    The escapes are JSON's: JSON keeps its value, and a person who decides about a request sees them (⚠48).
    """
    text = show_hidden(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _ALLOWED else json.dumps(c)[1:-1] for c in text)


def terminal_line(text: str) -> str:
    """Escape line ends, too, so that the text cannot forge another line."""
    return terminal_safe(text).replace("\n", "\\n")


def visible_json(text: str) -> str:
    """Escape each character of a JSON text that a reader cannot see, blanks other than the space included.

    The text keeps its value.
    """
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in show_hidden(text))


def show_hidden(text: str) -> str:
    """Escape the characters that count as printable but have no ink."""
    return _HIDDEN.sub(lambda match: json.dumps(match[0])[1:-1], text)


def count_blanks(value: Any) -> Any:
    """Replace each long run of blanks in the strings of a JSON value by its length, such as `[3000 spaces]`."""
    if isinstance(value, str):
        return _BLANKS.sub(_blank_count, value)
    if isinstance(value, dict):
        counted = {name: count_blanks(name) for name in value}
        is_unique = len(set(counted.values())) == len(counted)  # else one item would hide another
        return {counted[name] if is_unique else name: count_blanks(item) for name, item in value.items()}
    return [count_blanks(item) for item in value] if isinstance(value, list) else value


def _blank_count(run: re.Match[str]) -> str:
    return f"[{len(run[0])} {'spaces' if set(run[0]) == {' '} else 'blank characters'}]"
