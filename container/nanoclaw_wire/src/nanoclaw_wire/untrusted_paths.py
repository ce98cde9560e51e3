"""Opens directories and files that another party may have replaced.

It does not import apsw, so that `ncl logs` starts without SQLite.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags that open a directory for reading, and no link."""

_DELETED = " (deleted)"  # Linux appends it to the path of an open file without a name


@contextlib.contextmanager
def open_directory(path: str | Path, inside: int | None = None) -> Iterator[int]:
    """Open a directory for reading and yield its descriptor. The last name of the path may not be a link.

    Args:
        path: The directory.
        inside: The descriptor of the directory that a relative path begins in. None: the current directory.

    Raises:
        OSError: The directory is missing, is a link, or is no directory.
    """
    descriptor = os.open(path, DIRECTORY, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular_file(folder: int, name: str) -> int:
    """Open a regular file with this name and no other for reading, by the descriptor of its folder.

    Raises:
        OSError: The file is missing, is a link, a pipe, a device or a directory, or has a second name.
    """
    descriptor = os.open(name, _OPEN, dir_fd=folder)
    try:
        if is_single_link(descriptor, folder, name):
            return descriptor
        raise OSError(errno.EPERM, "it is not a regular file with one name")
    except OSError:
        os.close(descriptor)
        raise


def is_single_link(descriptor: int, folder: int, name: str) -> bool:
    """Return True if an open file is regular, and its only name is the one by which it was opened.

    A link count of 1 is not proof: an attacker can hard-link a foreign file, let us open it by that name, and remove
    the name before the count. So the name must still exist *after* the count. Linux knows the name of every open file,
    even if the name was reused since. An unlink lowers the count first and removes the name a moment later, but reading
    the folder waits for an unlink in progress. On other systems the function checks only the count.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        return False
    if sys.platform != "linux":
        return True
    with os.scandir(folder) as entries:
        next(entries, None)
    path, below = (Path(f"/proc/self/fd/{opened}").readlink() for opened in (descriptor, folder))
    return path == below / name and not name.endswith(_DELETED)
