"""Names for files that others sent."""

from __future__ import annotations

from collections.abc import Container

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


def plain_name(stem: str, mime_type: str | None, kind: str) -> str:
    """Return a stem with the extension of a MIME type, or else of a kind like `voice`, or with none."""
    short = (mime_type or "").partition(";")[0].strip().lower()
    extension = _EXTENSION_OF_MIME.get(short) or _EXTENSION_OF_KIND.get(kind)
    return f"{stem}.{extension}" if extension else stem


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that is not taken; put a number before the extension if necessary."""
    stem, dot, extension = name.rpartition(".")
    number, free = 2, name
    while free in taken:
        free = f"{stem}-{number}.{extension}" if dot and stem else f"{name}-{number}"
        number += 1
    return free
