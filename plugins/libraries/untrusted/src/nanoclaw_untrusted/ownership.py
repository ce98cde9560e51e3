"""Changes the owner of a directory tree that another party may change meanwhile."""

from __future__ import annotations

import contextlib
import os
import stat

from attrs import frozen
from nanoclaw_wire.untrusted_paths import open_directory

MAX_DEPTH = 64  # each level holds a descriptor open, and a sandbox controls the depth of its directories


def change_tree_owner(directory: int, user_id: int, group_id: int, *, takes_all: bool) -> None:
    """Change the owner of a tree through descriptors, without following links.

    Args:
        directory: The descriptor of the tree.
        user_id: The new owner.
        group_id: The new group.
        takes_all: True if the owner of all files changes. Otherwise it only changes for files of this process's user,
            and a file whose owner cannot be changed keeps it. It never changes for a file with a second hard link,
            which may lie elsewhere.

    Raises:
        OSError: The directory cannot be read, or an owner cannot be changed although `takes_all`. Earlier files stay
            changed.
    """
    new_owner = _NewOwner(user_id=user_id, group_id=group_id, takes_all=takes_all)
    with open_directory(".", directory) as descriptor:
        _change_tree(descriptor, new_owner)


def _change_tree(directory: int, new_owner: _NewOwner, depth: int = 0) -> None:
    new_owner.apply(directory)
    if depth == MAX_DEPTH:
        return  # deeper files belong to a sandbox or to the people who made them
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if new_owner.concerns(entry.stat(follow_symlinks=False))]
    for name in names:
        try:
            # O_NONBLOCK: a pipe must not block the host. A link or a socket cannot be opened and keeps its owner.
            below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=directory)
        except OSError:
            continue  # removed or replaced since it was listed
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, below)
            if stat.S_ISDIR(os.fstat(below).st_mode):
                _change_tree(below, new_owner, depth + 1)
            else:
                new_owner.apply(below)


@frozen(kw_only=True)
class _NewOwner:
    user_id: int
    group_id: int
    takes_all: bool

    def concerns(self, status: os.stat_result) -> bool:
        """Return True for a file that needs another owner, and for every directory."""
        if stat.S_ISDIR(status.st_mode):
            return True
        has_one_name = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        return has_one_name and self._is_foreign(status)

    def apply(self, descriptor: int) -> None:
        status = os.fstat(descriptor)  # check again: the name may mean another file than when it was listed
        if self.concerns(status) and self._is_foreign(status):
            try:
                os.fchown(descriptor, self.user_id, self.group_id)
            except OSError:
                if self.takes_all:
                    raise

    def _is_foreign(self, status: os.stat_result) -> bool:
        is_given = (status.st_uid, status.st_gid) == (self.user_id, self.group_id)
        return not is_given and (self.takes_all or status.st_uid == os.getuid())
