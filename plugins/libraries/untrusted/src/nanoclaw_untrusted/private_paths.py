"""Finds files that another user of the machine could change or replace. As ssh does, trust the own user and root."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import NamedTuple

MAX_LINKS = 40  # the limit of Linux
MAX_ACCOUNT_BYTES = 1_000_000  # of a file with the users or groups of the machine
ACCOUNTS = Path("/etc")
_ACCESS_LISTS = ("system.posix_acl_access", "system.nfs4_acl")


class Exposure(NamedTuple):
    """A part of a path that another user may change.

    Args:
        fault: The part and the reason, without a full stop.
        remedy: A sentence with the command that closes the part.
    """

    fault: str
    remedy: str


def exposure_of(path: Path, accounts: Path = ACCOUNTS) -> Exposure | None:
    """Return the first part of a path that lets another user change it; None if there is none.

    Each directory above the path and each link in it belongs to the path, because its owner can replace the rest. A
    part must belong to this process's user or to root, and only its owner may write it. A directory with the sticky
    bit, like `/tmp`, may stand above the path. The search ends at a missing part. An access control list counts,
    because the system shows its widest right as the right of the group. Without one, the private group of an ordinary
    user may write, too: with the umask 002, many systems give it this right to each new file.

    Args:
        path: The path.
        accounts: The directory of the files `passwd` and `group`.

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
            is_own_group = not status.st_mode & 0o002 and _is_private_group(status.st_gid, user, accounts)
            if not is_own_group or _has_access_list(current):
                return _writable(current)
    return None


def _is_private_group(group: int, user: int, accounts: Path) -> bool:
    """Return True if a group is the primary group of a user, has its name, and no other user is in it.

    The group of root is never private, because programs in containers often run in it. Users and groups that only a
    network knows are not looked up, which could last long: their groups are not private.
    """
    users, groups = _lines(accounts / "passwd", 7), _lines(accounts / "group", 4)
    names = {line[0] for line in users if line[2] == str(user)}
    same_id = [line for line in groups if line[2] == str(group)]
    if group == 0 or len(same_id) != 1 or same_id[0][0] not in names:
        return False
    in_group = {line[0] for line in users if line[3] == str(group)}
    return in_group == names and set(filter(None, same_id[0][3].split(","))) <= names


def _lines(file: Path, fields: int) -> list[list[str]]:
    """Return the complete lines of a file of accounts; none if it cannot be read or is too long."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_ACCOUNT_BYTES + 1)
    except OSError:
        return []
    lines = text.decode(errors="replace").split("\n") if len(text) <= MAX_ACCOUNT_BYTES else []
    return [parts for line in lines if len(parts := line.split(":")) == fields]


def _has_access_list(path: Path) -> bool:
    """Return True if a path may have an access control list; always True on other systems than Linux."""
    if not hasattr(os, "getxattr"):
        return True
    for name in _ACCESS_LISTS:
        try:
            os.getxattr(path, name, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                continue
        return True
    return False


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
