"""Names of agent groups, and folders made of them. Pure."""

from __future__ import annotations

import re
import unicodedata

from nanoclaw_core import InvalidArguments

NAME_AT_MOST = 100  # characters; it stands in prompts and in lists
FOLDER_AT_MOST = 64
_UNSAFE = re.compile(r"[^a-z0-9]+")
# Latin letters that Unicode does not take apart into a plain one and a mark.
_PLAIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ł": "l", "ŋ": "n", "þ": "th"}
)


def check_name(name: str | None) -> None:
    """Refuse what is no name for people.

    Raises:
        InvalidArguments: It is empty, too long, or holds a line break or another sign that cannot be shown.
    """
    if not name or not name.strip() or not name.isprintable() or len(name) > NAME_AT_MOST:
        raise InvalidArguments(f"groups: --name must be one line of 1 to {NAME_AT_MOST} characters, not {name!r}")


def folder_for(name: str) -> str:
    """Return a folder for a name: its Latin letters without accents in lower case, digits, hyphens between.

    Raises:
        InvalidArguments: Nothing of the name can stand in a folder. A name in another script is not spelled out in
            Latin letters: the folder stays for ever, and its speakers choose better than a table does.
    """
    spelled = unicodedata.normalize("NFKD", name.lower().translate(_PLAIN))
    plain = spelled.encode("ascii", "ignore").decode().lower()
    folder = _UNSAFE.sub("-", plain).strip("-")[:FOLDER_AT_MOST].rstrip("-")
    if not folder:
        raise InvalidArguments(f"groups: no folder can be made of the name {name!r}; give one with --folder")
    return folder
