"""Storage of inbound attachments below `in/inbox/`, which the sandbox can only read.

An attachment that cannot be stored is dropped without its message (⚠54). If the machine has no room or its disk does
not work, the whole message is refused instead, and the platform offers it again.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.labels import file_label, label
from nanoclaw_wire.layout import INBOX, is_safe_name
from nanoclaw_wire.untrusted_paths import open_directory

from nanoclaw_core.descriptors.messages import Attachment

log = logging.getLogger(__name__)

MAX_FILES = 50  # of a message
MESSAGE_FACTOR = 4  # all files of a message together may be this many times as large as one file
PART = ".part"  # in the inbox itself: message ids never have this name, and the host writes one file at a time
MAX_URL_CHARACTERS = 4_000
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EXTENSION_OF_MIME = {
    "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif", "image/heic": "heic",
    "audio/ogg": "ogg", "audio/mpeg": "mp3", "audio/wav": "wav", "audio/mp4": "m4a",
    "video/mp4": "mp4", "video/webm": "webm", "video/quicktime": "mov",
    "application/pdf": "pdf", "text/plain": "txt", "application/json": "json", "application/zip": "zip",
}  # fmt: skip
_EXTENSION_OF_KIND = {
    "image": "jpg", "photo": "jpg", "sticker": "webp", "voice": "ogg", "audio": "mp3", "video": "mp4",
    "animation": "mp4",
}  # fmt: skip


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
        name = _free_name(file_name(attachment, position), taken)
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
    mime_type = (attachment.mime_type or "").partition(";")[0].strip().lower()
    extension = _EXTENSION_OF_MIME.get(mime_type) or _EXTENSION_OF_KIND.get(attachment.kind)
    return f"attachment-{position}.{extension}" if extension else f"attachment-{position}"


def _stored(incoming: Path, message_id: str, name: str, content: bytes, limit_bytes: int) -> dict[str, Any]:
    if len(content) > limit_bytes:
        return {"size_bytes": len(content), "problem": f"larger than {limit_bytes} bytes"}
    try:
        _write(incoming / INBOX, message_id, name, content)
    except OSError as error:
        if is_exhausted(error):
            raise
        log.warning("attachment not stored", extra={"row": message_id, "error": error.strerror or str(error)})
        return {"size_bytes": len(content), "problem": "could not be stored"}
    return {"size_bytes": len(content), "path": f"{INBOX}/{message_id}/{name}"}


def _write(inbox: Path, folder: str, name: str, content: bytes) -> None:
    if not is_safe_name(folder):
        raise OSError(f"the message id {folder!r} cannot be a folder")
    with open_directory(inbox) as outer:
        with contextlib.suppress(FileExistsError):  # opening refuses a link of that name
            os.mkdir(folder, 0o755, dir_fd=outer)
        with open_directory(folder, outer) as inner:
            os.fchmod(inner, 0o755)
            if name in os.listdir(inner):
                return  # the same message again: keep the first copy, follow no link
            _write_part(outer, content)
            # Renaming replaces a link and does not follow it.
            os.rename(PART, name, src_dir_fd=outer, dst_dir_fd=inner)
            os.fsync(inner)
        os.fsync(outer)


def _write_part(inbox: int, content: bytes) -> None:
    """Write the file beside its folder and sync it (I3); a full disk may only fail then."""
    with contextlib.suppress(FileNotFoundError):  # a killed host may have left one
        os.unlink(PART, dir_fd=inbox)
    try:
        with open(os.open(PART, _NEW_FILE, 0o644, dir_fd=inbox), "wb") as file:
            os.fchmod(file.fileno(), 0o644)  # readable for the sandbox's user under any umask
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(PART, dir_fd=inbox)
        raise


def _free_name(name: str, taken: set[str]) -> str:
    stem, dot, extension = name.rpartition(".")
    number, free = 2, name
    while free in taken:
        free = f"{stem}-{number}.{extension}" if dot and stem else f"{name}-{number}"
        number += 1
    return free
