"""Measures and removes directory trees that another party wrote.

A tree may be nested thousands of levels deep and hold millions of files, links to elsewhere and directories without
rights, and its writer may still change it. The functions follow no link, do not recurse, and need a bounded amount of
memory and a bounded number of descriptors. They block, so call them in a thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from nanoclaw_wire.untrusted_paths import DIRECTORY, open_directory

MAX_PASSES = 100
"""Reads of one directory. A writer that keeps adding files must not stop the removal of other trees."""

MAX_DEPTH = 32
"""Levels that `tree_size` enters. Each open level needs two descriptors."""

ENTRY_BYTES = 4_096
"""The least size of an entry, so that a limit of the size also limits the number of entries."""

_BLOCK_BYTES = 512  # the unit of `st_blocks` on every system
_LOOKUP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_Level = tuple[int, "os._ScandirIterator[str]"]  # an open directory and its entries


class Stopped(Exception):
    """The caller ended the removal. The rest of the trees is left."""


def tree_size(path: Path, limit: int) -> int:
    """Return the disk space of a directory tree in bytes, or `limit` if it is at least that.

    A tree that cannot be read, or is deeper than `MAX_DEPTH`, counts as `limit`. A missing one counts as 0.
    """
    size = 0
    levels: list[_Level] = []
    try:
        levels.append(_open_level(path))
        while levels:
            folder, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                _close_level(levels.pop())
                continue
            size += max(ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES)
            is_folder = entry.is_dir(follow_symlinks=False)
            if size >= limit or (is_folder and len(levels) == MAX_DEPTH):
                return limit
            if is_folder:
                levels.append(_open_level(entry.name, folder))
    except FileNotFoundError:  # `path`, or an entry that another process removed meanwhile
        return size
    except OSError:
        return limit
    finally:
        for level in levels:
            _close_level(level)
    return size


def empty_directory(path: Path, is_stopped: Callable[[], bool] = lambda: False) -> OSError | None:
    """Remove everything in a directory. Return None if it is empty then, or the first error.

    A subdirectory is moved up into `path` before it is read, so that the depth of a tree costs neither memory nor
    descriptors. The work can be repeated, after a crash too. A file system that is mounted in a tree is left.

    Args:
        path: The directory. Only this process may change its own entries.
        is_stopped: Returns True to end the work; called before each entry.

    Raises:
        Stopped: `is_stopped` returned True.
        OSError: The directory cannot be read.
    """
    prefix = os.urandom(8).hex()
    names = (f"{prefix}-{number}" for number in count())
    with open_directory(path) as top:
        while True:
            problem, has_removed = None, False
            for entry in _entries(top, is_stopped):
                try:
                    if entry.is_dir(follow_symlinks=False):
                        _remove_directory(entry, top, names, is_stopped)
                    else:
                        os.unlink(entry.name, dir_fd=top)
                    has_removed = True
                except OSError as error:
                    problem = problem or error
            if not has_removed:
                return problem


def _remove_directory(
    directory: os.DirEntry[str], top: int, names: Iterator[str], is_stopped: Callable[[], bool]
) -> None:
    _allow(directory, top)
    for _ in range(MAX_PASSES):
        problem: OSError | None = None
        with open_directory(directory.name, top) as folder:
            for entry in _entries(folder, is_stopped):
                try:
                    if entry.is_dir(follow_symlinks=False):
                        _allow(entry, folder)
                        os.rename(entry.name, next(names), src_dir_fd=folder, dst_dir_fd=top)
                    else:
                        os.unlink(entry.name, dir_fd=folder)
                except OSError as error:
                    problem = problem or error
        try:
            os.rmdir(directory.name, dir_fd=top)
            return
        except OSError as error:
            problem = problem or error
            if problem.errno != errno.ENOTEMPTY:
                raise problem from None
    raise OSError(errno.ENOTEMPTY, "files were added during the removal", directory.name)


def _entries(folder: int, is_stopped: Callable[[], bool]) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_stopped():
                raise Stopped
            yield entry


def _allow(directory: os.DirEntry[str], folder: int) -> None:
    """Give the owner all rights: only then it may read a directory, remove its entries, and move it to another one."""
    if directory.stat(follow_symlinks=False).st_mode & 0o700 == 0o700:
        return
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(directory.name, 0o700, dir_fd=folder, follow_symlinks=False)
        return
    descriptor = os.open(directory.name, _LOOKUP, dir_fd=folder)  # needs no right, and is never a link
    try:
        Path(f"/proc/self/fd/{descriptor}").chmod(0o700)
    finally:
        os.close(descriptor)


def _open_level(name: str | Path, inside: int | None = None) -> _Level:
    folder = os.open(name, DIRECTORY, dir_fd=inside)
    try:
        return folder, os.scandir(folder)
    except BaseException:
        os.close(folder)
        raise


def _close_level(level: _Level) -> None:
    folder, entries = level
    entries.close()
    os.close(folder)
