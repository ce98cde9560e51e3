"""Foreign names and ids as people and models may see them. All functions are pure.

People and platforms choose the names of people, rooms and files. Such a name may be of any length, have line breaks,
turn the direction of the text around it, or be invisible. Names that look alike stay alike: only the id beside a name
tells two people apart.
"""

from __future__ import annotations

import re
from unicodedata import category

MAX_CHARACTERS = 80
READ_CHARACTERS = 200  # of a name, before anything else looks at it (I14)
MAX_ID_CHARACTERS = 1_000  # an id cannot be cut: two ids would become one
IGNORED = "\u034f\u17b4\u17b5\u180b-\u180f\u2065\ufe00-\ufe0f\ufff0-\ufff8\U000e0000-\U000e0fff"
"""Marks and letters without a shape of their own, for a set in a regular expression (Default_Ignorable_Code_Point)."""

_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and signs that look like a space
_FLAG_HALVES = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_IGNORED, _HIDDEN = re.compile(f"[{IGNORED}]"), re.compile(f"[{IGNORED}{_BLANKS}]")
_MAX_EXTENSION, _MAX_FILE_BYTES, _SAFE_CHARACTERS = 10, 230, 50


def label(name: str, at_most: int = MAX_CHARACTERS) -> str:
    """Return a foreign name as one line, at most `at_most` characters long, with an ellipsis if it was cut.

    Runs of blanks and control characters become one space. Format characters and invisible letters go. Half characters
    become question marks. The label of a label is the same label.

    Returns:
        The label; empty if no visible character is left. The caller then shows the id.
    """
    text = name[:READ_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    line = " ".join("".join(map(_shown, _IGNORED.sub("", text))).split())
    if not line or (len(line) <= at_most and len(name) <= READ_CHARACTERS):
        return line
    return f"{_cut(line, at_most - 1)}…"


def file_label(name: str) -> str:
    """Return the label of a file's name. It keeps a short extension, and any file system takes it."""
    stem, _, extension = name.rpartition(".")
    extension = label(extension) if stem and len(extension) <= _MAX_EXTENSION else ""
    stem, tail = (stem, f".{extension}") if extension else (name, "")
    shown = label(stem, MAX_CHARACTERS - len(tail))
    if len(shown.encode()) > _MAX_FILE_BYTES:
        shown = label(stem, _SAFE_CHARACTERS)
    return f"{shown}{tail}" if shown else ""


def exact(identifier: str) -> str:
    """Return a foreign id as one line. Two ids stay two: what `label` would remove is escaped as in Python."""
    return "".join(c if _is_plain(c) else c.encode("unicode_escape").decode("ascii") for c in identifier)


def _is_plain(character: str) -> bool:
    return character.isprintable() and character != "\\" and not _HIDDEN.match(character)


def _shown(character: str) -> str:
    match category(character):
        case "Cf":
            return ""
        case "Cc":
            return " "
    return " " if character in _BLANKS else character


def _cut(line: str, end: int) -> str:
    """Return the beginning of a line; do not separate a letter from its marks, or the halves of a flag."""
    at = end
    while 0 < at < len(line) and _belongs_to_previous(line, at):
        at -= 1
    return line[: at or end].rstrip()


def _belongs_to_previous(line: str, at: int) -> bool:
    if line[at] in _FLAG_HALVES:
        before = line[:at]
        return (len(before) - len(before.rstrip(_FLAG_HALVES))) % 2 == 1
    return category(line[at]).startswith("M") or "\U0001f3fb" <= line[at] <= "\U0001f3ff"  # a mark, or a skin tone
