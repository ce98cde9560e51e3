"""Directories of the host that are held open while a sandbox is made from them (I6).

A name can mean another directory by the time an engine opens it, but a descriptor cannot. So each mount is opened once,
without following links below its root. Its identity is compared with the approved one, its ownership changes through
the descriptor, and the runtime compares the mounted directory with the held one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen
from nanoclaw_wire import untrusted_paths

from nanoclaw_core.descriptors.sandboxes import DirectoryIdentity, Mount
from nanoclaw_core.errors import SandboxRefused

# With O_PATH, Linux opens a directory without read permission. Other systems have no O_PATH.
OPEN_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
MAX_DEPTH = 64  # each level holds a descriptor open, and a sandbox controls the depth of its directories
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@frozen(kw_only=True)
class HeldMount:
    """A mount with an open directory; valid in the block of `hold_mounts`.

    Args:
        path: The mount's source with all links resolved.
    """

    mount: Mount
    path: Path
    descriptor: int


@contextlib.contextmanager
def hold_mounts(mounts: Iterable[Mount]) -> Iterator[Sequence[HeldMount]]:
    """Open the directories of mounts, in their order.

    Raises:
        SandboxRefused: A directory is missing, is not a directory, is reached through a link or is not the approved
            one.
    """
    with contextlib.ExitStack() as opened:
        held = []
        for mount in mounts:
            path, descriptor = _open(mount)
            opened.callback(os.close, descriptor)
            held.append(HeldMount(mount=mount, path=path, descriptor=descriptor))
        yield held


def require_mounted(held: Iterable[HeldMount], root: Path) -> None:
    """Check that the directories mounted in a sandbox are the held ones.

    `root` is the sandbox's root directory in the host's view, `/proc/<process>/root`.

    Raises:
        SandboxRefused: Another directory is mounted.
        OSError: The root cannot be read.
    """
    for directory in held:
        mounted = root / directory.mount.target.lstrip("/")
        if not os.path.samestat(mounted.stat(), os.fstat(directory.descriptor)):
            source = directory.mount.source
            raise SandboxRefused(f"{source}: another directory took its place while the sandbox started")


def change_owner(held: Iterable[HeldMount], user_id: int, group_id: int) -> None:
    """Make the sandbox's user the owner of writable mounts and the files in them (⚠35).

    In a session's own directories the owner of all files changes, because an earlier runtime may have used another
    user. In other mounts it only changes for files of the host's user, and never for a file with a second hard link,
    which may lie elsewhere. If a file system cannot change an owner there (an immutable file, or no owners at all), the
    file keeps it, and the sandbox has the rights that the file system gives.

    Raises:
        SandboxRefused: The owner of a session's own directory cannot be changed; earlier directories stay changed.
    """
    for directory in held:
        if not directory.mount.writable:
            continue
        is_own = directory.mount.identity is None
        new_owner = _NewOwner(user_id=user_id, group_id=group_id, takes_all=is_own, must_succeed=is_own)
        try:
            with untrusted_paths.open_directory(".", directory.descriptor) as descriptor:
                _change_tree(descriptor, new_owner)
        except OSError as error:
            reason = f"its owner cannot be changed to user {user_id}: {error.strerror}"
            raise SandboxRefused(f"{directory.path}: {reason}") from error


def open_directory(path: Path) -> tuple[int, Sequence[DirectoryIdentity]]:
    """Open a directory by an absolute path without following links.

    Returns:
        The descriptor, which the caller closes, and the identities of all directories from `/` down to this one.

    Raises:
        OSError: A component is missing, a link or not a directory; no descriptor stays open.
    """
    descriptor, boot = os.open(path.anchor, OPEN_DIRECTORY), boot_id()
    identities = [identity_of(os.fstat(descriptor), boot)]
    try:
        for name in path.parts[1:]:
            below = os.open(name, OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
            identities.append(identity_of(os.fstat(descriptor), boot))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, identities


def lineage_of(path: Path) -> Sequence[DirectoryIdentity]:
    """Return the identities of all directories from `/` down to an absolute path without links.

    Raises:
        OSError: A component is missing, a link or not a directory.
    """
    descriptor, identities = open_directory(path)
    os.close(descriptor)
    return identities


def identity_of(status: os.stat_result, boot: str) -> DirectoryIdentity:
    """Return the identity of a directory in a boot (see `boot_id`)."""
    return DirectoryIdentity(device=status.st_dev, inode=status.st_ino, boot=boot)


def boot_id() -> str:
    """Return the kernel's id of this boot; an empty text if the system has none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _open(mount: Mount) -> tuple[Path, int]:
    try:
        path = mount.source if mount.identity else mount.source.resolve(strict=True)
        descriptor, identities = open_directory(path)
    except OSError as error:
        raise SandboxRefused(f"{mount.source}, for {mount.target} in the sandbox: {error.strerror}") from error
    if mount.identity is None or identities[-1].matches_approved(mount.identity):
        return path, descriptor
    os.close(descriptor)
    raise SandboxRefused(
        f"{mount.source}: this is not the directory that was approved. Remove the mount and add it again."
    )


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
    must_succeed: bool

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
                if self.must_succeed:
                    raise

    def _is_foreign(self, status: os.stat_result) -> bool:
        is_given = (status.st_uid, status.st_gid) == (self.user_id, self.group_id)
        return not is_given and (self.takes_all or status.st_uid == os.getuid())
