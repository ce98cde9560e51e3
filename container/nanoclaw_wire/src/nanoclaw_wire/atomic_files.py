"""Replaces a file in one step."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomically(path: Path, data: bytes, *, mode: int, sync: bool, owner: tuple[int, int] | None = None) -> None:
    """Replace a file, or create it. Readers see the old content or the new one.

    The data goes into a new file beside `path`, which is then renamed. So a process that is killed here leaves the old
    file, and perhaps the new one as `.<name>.<random>.new`. After an error only the old file is left. A link at `path`
    is replaced, not followed.

    Args:
        path: The file. Its directory must exist, and other users must not be able to rename files in it.
        data: The complete content.
        mode: The permissions, under any umask. The new file never has more.
        sync: True if the new content must survive a crash of the machine: syncs the file, then its directory.
        owner: The numbers of the user and the group. Ignored if this process may not set them.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")
    descriptor = os.open(temporary, _NEW_FILE, mode)
    try:
        with open(descriptor, "wb") as file:
            if owner is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            if sync:
                os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Sync a directory, so that its new and renamed files survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
