"""Making mounts writable for the sandbox's user where the host runs as root (⚠35).

Only what the host's own user made is handed over. Links are never followed and names with a second name are left
alone: another sandbox of the same group may be writing in there at this moment.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path


def hand_over(directories: Iterable[Path], user_id: int, group_id: int) -> None:
    """Give directories, and what this process's user made in them, to the sandbox's user.

    Raises:
        OSError: One of them cannot be given away.
    """
    for directory in directories:
        _give(directory.name, user_id, group_id, parent=directory.parent)
        if not directory.is_symlink() and directory.is_dir():
            _give_content(directory, user_id, group_id)


def _give_content(directory: Path, user_id: int, group_id: int) -> None:
    for _, names, files, descriptor in os.fwalk(directory, follow_symlinks=False):
        for name in (*names, *files):
            _give_below(descriptor, name, user_id, group_id)


def _give(name: str, user_id: int, group_id: int, *, parent: Path) -> None:
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _give_below(descriptor, name, user_id, group_id)
    finally:
        os.close(descriptor)


def _give_below(directory: int, name: str, user_id: int, group_id: int) -> None:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        is_ours = found.st_uid == os.getuid()
        has_one_name = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
        if is_ours and has_one_name:
            os.chown(name, user_id, group_id, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        pass  # gone since it was listed
