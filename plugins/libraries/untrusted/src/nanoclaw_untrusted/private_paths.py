"""Finds files that another user of the machine could change or replace. As ssh does, trust the own user and root."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import NamedTuple

MAX_LINKS = 40  # the limit of Linux


class Exposure(NamedTuple):
    """A part of a path that another user may change.

    Args:
        fault: The part and the reason, without a full stop.
        remedy: A sentence with the command that closes the part.
    """

    fault: str
    remedy: str


def exposure_of(path: Path) -> Exposure | None:
    """Return the first part of a path that lets another user change it; None if there is none.

    Each directory above the path and each link in it belongs to the path, because its owner can replace the rest. A
    part must belong to this process's user or to root, and only its owner may write it. A directory with the sticky
    bit, like `/tmp`, may stand above the path. The search ends at a missing part. An access control list counts,
    because the system shows its widest right as the right of the group.

    Raises:
        OSError: A directory cannot be entered, or the links form a cycle.
    """
    user, links, current, names = os.geteuid(), 0, Path(), list(reversed(path.absolute().parts))
    while names:
        current /= names.pop()
        try:
            status = current.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if status.st_uid not in (0, user):
            return _foreign(current, status.st_uid, user)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            names += reversed(current.readlink().parts)
            current = current.parent
        elif status.st_mode & 0o022 and not (names and status.st_mode & stat.S_ISVTX):
            return _writable(current)
    return None


def _foreign(path: Path, owner: int, user: int) -> Exposure:
    command = f"{'sudo ' if user else ''}chown -h {user} {shlex.quote(str(path))}"
    return Exposure(
        fault=f"{path} belongs to user {owner}, not to the host's user {user} or to root",
        remedy=f"Run the host as user {owner}, run `{command}`, or choose another directory with --home.",
    )


def _writable(path: Path) -> Exposure:
    return Exposure(
        fault=f"{path} may be written by other users than its owner",
        remedy=f"Run `chmod go-w {shlex.quote(str(path))}`, or choose another directory with --home.",
    )
