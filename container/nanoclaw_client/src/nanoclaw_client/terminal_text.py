"""Text that is safe to print on a terminal."""

from __future__ import annotations

import json

# Line ends, spaces of other scripts, and the joiners of letters and emoji.
_ALLOWED = frozenset("\n\t\u00a0\u202f\u3000\u200c\u200d")


def terminal_safe(text: str) -> str:
    """Escape characters that control a terminal or change the text direction.

    The escapes are JSON's: JSON keeps its value, and a person who decides about a request sees them (⚠48).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _ALLOWED else json.dumps(c)[1:-1] for c in text)
