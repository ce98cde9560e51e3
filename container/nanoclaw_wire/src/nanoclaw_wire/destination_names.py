"""Destination names: making one from a room's name, and comparing two spellings.

The host makes names with `destination_name`, and the runner looks them up with `canonical`. Both functions are pure.
"""

from __future__ import annotations

import re
import unicodedata

from nanoclaw_wire.labels import IGNORED

MAX_CHARACTERS = 60  # of a name, without the number that makes it unique
READ_CHARACTERS = 600  # of a room's name, which a platform may send in any length
_INVISIBLE = re.compile(f"[{IGNORED}\u115f\u1160\u3164\uffa0]")


def canonical(name: str) -> str:
    """Return the canonical spelling of a name: NFC, lower case, without invisible characters.

    It does not fold case, which would merge Straße and Strasse. It does not use NFKC, which splits vowel signs of Thai
    and Lao.
    """
    visible = "".join(c for c in _INVISIBLE.sub("", name) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).lower())


def destination_name(text: str) -> str:
    """Make a destination name from a room's name: letters with their marks, digits, single hyphens.

    Returns:
        A canonical name of at most `MAX_CHARACTERS` characters; `chat` if no letter or digit is left.
    """
    kept: list[str] = []
    for character in canonical(text[:READ_CHARACTERS]):
        is_part = _is_letter(character) or (_is_mark(character) and bool(kept) and kept[-1] != " ")
        kept.append(character if is_part else " ")
    return _cut("-".join("".join(kept).split())) or "chat"


def _cut(name: str) -> str:
    """Shorten a name. The last letter keeps all its marks, or is cut with them."""
    end = MAX_CHARACTERS
    while end and len(name) > end and _is_mark(name[end]):
        end -= 1
    return name[: end or MAX_CHARACTERS].rstrip("-")


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc")
