"""Reads and writes files in subfolders that another party may exchange at any time.

No link is followed, and only regular files with a single name are read.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.layout import is_safe_name
from nanoclaw_wire.untrusted_paths import open_directory, open_regular_file

PART = ".part"  # beside the subfolders; the caller never uses it as the name of one, and writes one file at a time
CLOCK_SKEW_S = 10.0  # between a virtual machine's clock and ours
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class InvalidFile(Exception):
    """A file is missing, is not a regular file or is too large.

    The error names it.
    """


def read_files(
    root: Path, folder: str, names: Sequence[object], *, max_files: int, max_bytes: int
) -> list[tuple[str, bytes]]:
    """Read files of a subfolder; return the name and the content of each.

    Args:
        root: The directory of the subfolder.
        folder: The name of the subfolder.
        names: The names of the files. Neither they nor `folder` need to be safe.
        max_files: The limit for their number.
        max_bytes: The limit for their size together.

    Raises:
        InvalidFile: A file cannot be read.
        OSError: The machine has no room, descriptors or memory.
    """
    if len(names) > max_files or not is_safe_name(folder):
        raise InvalidFile(f"{len(names)} files in folder {folder!r:.80}; at most {max_files} in a safe folder")
    try:
        with open_directory(root) as outer, open_directory(folder, outer) as inner:
            return _read_all(inner, names, max_bytes)
    except OSError as error:
        if is_exhausted(error):  # not a fault of the files
            raise
        raise InvalidFile(f"the folder {root.name}/{folder} cannot be opened: {error.strerror}") from error


def store_file(root: Path, folder: str, name: str, content: bytes) -> None:
    """Store a file in a subfolder, durably and in one step; a file of that name is kept.

    The subfolder is created if it is missing. Everyone may read both.

    Raises:
        OSError: The file cannot be stored; no part of it is left.
    """
    if not is_safe_name(folder):
        raise OSError(f"{folder!r} cannot be a folder")
    with open_directory(root) as outer:
        with contextlib.suppress(FileExistsError):  # opening refuses a link of that name
            os.mkdir(folder, 0o755, dir_fd=outer)
        with open_directory(folder, outer) as inner:
            os.fchmod(inner, 0o755)
            if name in os.listdir(inner):
                return  # the same file again: keep the first copy, follow no link
            _write_part(outer, content)
            # Renaming replaces a link and does not follow it.
            os.rename(PART, name, src_dir_fd=outer, dst_dir_fd=inner)
            os.fsync(inner)
        os.fsync(outer)


def past_time_of(path: Path) -> float | None:
    """Return the time of a regular file's last change in epoch seconds, or None if it is unknown.

    The time is never in the future. A file time ahead of the clock counts as unknown: the clock was set back, or
    the other party forged it.
    """
    try:
        status = path.lstat()
    except OSError:
        return None
    now = time.time()
    is_known = stat.S_ISREG(status.st_mode) and status.st_mtime <= now + CLOCK_SKEW_S
    return min(status.st_mtime, now) if is_known else None


def _read_all(folder: int, names: Sequence[object], limit: int) -> list[tuple[str, bytes]]:
    files: list[tuple[str, bytes]] = []
    for name in names:
        files.append(_read(folder, name, limit))
        limit -= len(files[-1][1])
    return files


def _read(folder: int, name: object, limit: int) -> tuple[str, bytes]:
    if not isinstance(name, str) or not is_safe_name(name):
        raise InvalidFile(f"{name!r:.80} is not a safe file name")
    try:
        descriptor = open_regular_file(folder, name)
    except OSError as error:
        if is_exhausted(error):
            raise
        raise InvalidFile(f"the file {name!r:.80} cannot be opened: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InvalidFile(f"{name!r:.80} makes the message larger than {limit} bytes")
    return name, content


def _write_part(root: int, content: bytes) -> None:
    """Write the file beside its folder and sync it (I3); a full disk may only fail then."""
    with contextlib.suppress(FileNotFoundError):  # a killed host may have left one
        os.unlink(PART, dir_fd=root)
    try:
        with open(os.open(PART, _NEW_FILE, 0o644, dir_fd=root), "wb") as file:
            os.fchmod(file.fileno(), 0o644)  # readable for the sandbox's user under any umask
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(PART, dir_fd=root)
        raise
