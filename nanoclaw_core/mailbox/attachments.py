"""Storage of inbound attachments below `in/inbox/`, which the sandbox can only read.

An attachment that cannot be stored is dropped without its message (⚠54). If the machine has no room or its disk does
not work, the whole message is refused instead, and the platform offers it again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoclaw_untrusted.file_names import free_name, plain_name
from nanoclaw_untrusted.files import store_file
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.labels import file_label, label
from nanoclaw_wire.layout import INBOX, is_safe_name

from nanoclaw_core.descriptors.messages import Attachment

log = logging.getLogger(__name__)

MAX_FILES = 50  # of a message
MESSAGE_FACTOR = 4  # all files of a message together may be this many times as large as one file
MAX_URL_CHARACTERS = 4_000


def store(
    incoming: Path, message_id: str, attachments: Sequence[Attachment], *, limit_bytes: int
) -> list[dict[str, Any]]:
    """Store the bytes of attachments and return their descriptions for the message.

    Returns:
        One object per attachment: `name` and `type`; if they apply also `mime_type`, `size_bytes`, `path` (below
        `in/`), `url` and `problem` (the reason for a missing file).

    Raises:
        OSError: The machine has no room, descriptors or memory, or its disk does not work. Earlier files of the message
            are complete, and storing the message again keeps them.
    """
    described = []
    taken: set[str] = set()
    left_bytes = MESSAGE_FACTOR * limit_bytes
    for position, attachment in enumerate(attachments[:MAX_FILES], 1):
        name = free_name(file_name(attachment, position), taken)
        taken.add(name)
        entry: dict[str, Any] = {"name": name, "type": label(attachment.kind)}
        entry |= {"mime_type": label(attachment.mime_type)} if attachment.mime_type else {}
        if attachment.url:
            is_long = len(attachment.url) > MAX_URL_CHARACTERS
            entry |= {"problem": "its address is too long"} if is_long else {"url": attachment.url}
        if attachment.content is not None:
            entry |= _stored(incoming, message_id, name, attachment.content, min(limit_bytes, left_bytes))
            left_bytes -= entry["size_bytes"] if "path" in entry else 0
        described.append(entry)
    if (more := len(attachments) - MAX_FILES) > 0:
        problem = f"a message may have {MAX_FILES} files"
        described.append({"name": f"{more} more", "type": "file", "problem": problem})
    return described


def file_name(attachment: Attachment, position: int) -> str:
    """Return the label of the platform's name if it is safe, else `attachment-<n>` with an extension."""
    if is_safe_name(name := file_label(attachment.name)):
        return name
    return plain_name(f"attachment-{position}", attachment.mime_type, attachment.kind)


def _stored(incoming: Path, message_id: str, name: str, content: bytes, limit_bytes: int) -> dict[str, Any]:
    if len(content) > limit_bytes:
        return {"size_bytes": len(content), "problem": f"larger than {limit_bytes} bytes"}
    try:
        store_file(incoming / INBOX, message_id, name, content)
    except OSError as error:
        if is_exhausted(error):
            raise
        log.warning("attachment not stored", extra={"row": message_id, "error": error.strerror or str(error)})
        return {"size_bytes": len(content), "problem": "could not be stored"}
    return {"size_bytes": len(content), "path": f"{INBOX}/{message_id}/{name}"}
