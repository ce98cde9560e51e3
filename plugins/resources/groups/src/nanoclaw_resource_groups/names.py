"""Validates names of agent groups and derives folder names from them.

Pure functions.
"""

from __future__ import annotations

import re
import unicodedata

from nanoclaw_core import InvalidArguments

MAX_NAME_CHARACTERS = 100  # names appear in prompts and lists
MAX_FOLDER_CHARACTERS = 64
_UNSAFE = re.compile(r"[^a-z0-9]+")
# Latin letters that Unicode does not decompose into a plain letter and a mark.
_TRANSLITERATION = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ł": "l", "ŋ": "n", "þ": "th"}
)


def check_name(name: str | None) -> None:
    """Validate the name of an agent group.

    Raises:
        InvalidArguments: The name is empty, too long, or contains a line break or another unprintable character.
    """
    if not name or not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise InvalidArguments(
            f"groups: --name must be one line of 1 to {MAX_NAME_CHARACTERS} characters, got {name!r}"
        )


def folder_for(name: str) -> str:
    """Return a folder for a name.

    It has the name's Latin letters without accents in lower case, and its digits, with hyphens.

    A name in another script is not transliterated: the folder is permanent, and its speakers choose a better one than
    a table does.

    Raises:
        InvalidArguments: The name contains no Latin letter and no digit.
    """
    spelled = unicodedata.normalize("NFKD", name.lower().translate(_TRANSLITERATION))
    plain = spelled.encode("ascii", "ignore").decode().lower()
    folder = _UNSAFE.sub("-", plain).strip("-")[:MAX_FOLDER_CHARACTERS].rstrip("-")
    if not folder:
        raise InvalidArguments(
            f"groups: --name has no Latin letter or digit for a folder name, got {name!r}. Choose one with --folder"
        )
    return folder
