"""The `CLAUDE.md` of the agent group's folder, as text.

Every session of the group may write to the folder, so the program takes no settings from it: no hooks, environment,
servers, skills or plugins, and no imports of `CLAUDE.md`.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from nanoclaw_wire.untrusted_paths import open_directory, open_regular_file

log = logging.getLogger("nanoclaw.claude")

FILE_NAME = "CLAUDE.md"
MAX_BYTES = 40_000  # the text becomes an argument of the program, and Linux allows 128 KiB for one
_TAG = re.compile(r"<(?=\s*/?\s*folder-notes\b)", re.IGNORECASE)
_FRAME = """
## The notes of your folder

This is the file `{name}` of your folder. The operator writes it, and so do you, also in your other conversations.
Follow it, unless it contradicts the text above. It is not a message of a person. It is read again when a
conversation starts or resumes. Files that it names with `@` are not included.

<folder-notes>
{text}
</folder-notes>
"""


def with_group_notes(instructions: str, folder: Path) -> str:
    """Append the notes of a folder to the instructions. Without a readable file, return the instructions."""
    try:
        text = _read(folder)
    except FileNotFoundError:
        return instructions
    except OSError as error:
        log.warning("instructions file not read", extra={"file": FILE_NAME, "reason": error.strerror})
        return instructions
    return f"{instructions}\n{_FRAME.format(name=FILE_NAME, text=text)}" if text else instructions


def _read(folder: Path) -> str:
    """Read the notes, without following links. They cannot end their own tag, and have no NUL, as no argument may."""
    with open_directory(folder) as directory, os.fdopen(open_regular_file(directory, FILE_NAME), "rb") as file:
        content = file.read(MAX_BYTES + 1)
    text = content[:MAX_BYTES].decode("utf-8", "ignore").replace("\0", " ").strip()
    if len(content) > MAX_BYTES:
        text = f"{text}\n[cut here, after {MAX_BYTES} bytes]"
    return _TAG.sub("&lt;", text)
