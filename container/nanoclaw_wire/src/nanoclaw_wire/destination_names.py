"""Names of destinations: how a name is made of a room's, and when two spellings are one name.

The host makes names with `destination_name`; the runner looks them up with `canonical`. Both are pure.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARACTERS = 60  # of a name without the number that tells it from others
READ_CHARACTERS = 600  # of a room's name; a platform may send any length
# Letters and marks without a shape of their own (Unicode: Default_Ignorable_Code_Point).
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def canonical(name: str) -> str:
    """Return the one spelling of a name: NFC, lower case, without invisible characters.

    Lower case and not case folding, which would make Straße and Strasse one name. NFC and not NFKC, which takes vowel
    signs of Thai and Lao apart.
    """
    visible = "".join(c for c in _INVISIBLE.sub("", name) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", visible).lower())


def destination_name(text: str) -> str:
    """Make a name of the text that people call a room by: letters with their marks, digits, single hyphens.

    Returns:
        At most `MAX_CHARACTERS` characters, canonical; `chat` if no letter or digit is left.
    """
    kept: list[str] = []
    for character in canonical(text[:READ_CHARACTERS]):
        is_part = _is_letter(character) or (_is_mark(character) and bool(kept) and kept[-1] != " ")
        kept.append(character if is_part else " ")
    return _cut("-".join("".join(kept).split())) or "chat"


def _cut(name: str) -> str:
    """Shorten a name; a letter at the end keeps all its marks or goes with them."""
    end = MAX_CHARACTERS
    while end and len(name) > end and _is_mark(name[end]):
        end -= 1
    return name[: end or MAX_CHARACTERS].rstrip("-")


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc")
