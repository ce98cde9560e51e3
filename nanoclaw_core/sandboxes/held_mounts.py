"""Directories of the host, held open while a sandbox is made from them (I6).

A name can mean another directory by the time that an engine opens it. A descriptor cannot. So every mount is opened
once, without following links below its root; its identity is compared with the approved one; ownership changes through
the descriptor; and a runtime compares what it mounted with what is held.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from nanoclaw_core.descriptors.sandboxes import DirectoryIdentity, Mount
from nanoclaw_core.errors import SandboxRefused

# Linux opens a directory that it may not read with O_PATH; elsewhere reading it is the next best.
OPEN_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
MAX_DEPTH = 64  # each level holds a descriptor open, and a sandbox chooses how deep its directories are
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@frozen(kw_only=True)
class HeldMount:
    """A mount whose directory is open; valid inside the block of `hold_mounts`.

    Args:
        path: The mount's source without links in it.
    """

    mount: Mount
    path: Path
    descriptor: int


@contextlib.contextmanager
def hold_mounts(mounts: Iterable[Mount]) -> Iterator[Sequence[HeldMount]]:
    """Open the directories of mounts, in their order.

    Raises:
        SandboxRefused: One is missing, is no directory, is reached through a link, or is not the approved one.
    """
    with contextlib.ExitStack() as opened:
        held = []
        for mount in mounts:
            path, descriptor = _open(mount)
            opened.callback(os.close, descriptor)
            held.append(HeldMount(mount=mount, path=path, descriptor=descriptor))
        yield held


def require_mounted(held: Iterable[HeldMount], root: Path) -> None:
    """Compare what is mounted below a sandbox's root with what is held.

    Args:
        root: The sandbox's root directory as the host sees it, `/proc/<process>/root`.

    Raises:
        SandboxRefused: Another directory is mounted.
        OSError: The root cannot be looked into.
    """
    for one in held:
        if not os.path.samestat((root / one.mount.target.lstrip("/")).stat(), os.fstat(one.descriptor)):
            raise SandboxRefused(f"{one.mount.source}: another directory took its place while the sandbox started")


def change_owner(held: Iterable[HeldMount], user_id: int, group_id: int) -> None:
    """Give writable mounts, and the content that the host made in them, to the sandbox's user (⚠35).

    Of a session's own directories everything changes hands: an earlier runtime may have used another user. Of the other
    mounts only files of the host's own user do, and never a file with a second name, which may stand elsewhere.

    A file that its file system does not let go (immutable, or of a kind that knows no owners) keeps its owner in such
    a mount; the sandbox then has the rights that the file system gives it.

    Raises:
        SandboxRefused: A session's own directory cannot be given away; those before it are given.
    """
    for one in held:
        if not one.mount.writable:
            continue
        is_own = one.mount.identity is None
        new_owner = _NewOwner(user_id=user_id, group_id=group_id, takes_all=is_own, must_succeed=is_own)
        try:
            with _closing(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=one.descriptor)) as directory:
                _give_tree(directory, new_owner)
        except OSError as error:
            raise SandboxRefused(f"{one.path} cannot be given to user {user_id}: {error.strerror}") from error


def open_directory(path: Path) -> tuple[int, Sequence[DirectoryIdentity]]:
    """Open a directory by an absolute path without following a link in it.

    Returns:
        The descriptor, which the caller closes, and the identities of all directories from `/` down to this one.

    Raises:
        OSError: A component is missing, is a link or is no directory; nothing stays open.
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
    """Return the identities of all directories from `/` down to the one that a path leads to, links followed.

    Raises:
        OSError: It does not exist, or is no directory.
    """
    descriptor, identities = open_directory(path.resolve(strict=True))
    os.close(descriptor)
    return identities


def identity_of(found: os.stat_result, boot: str) -> DirectoryIdentity:
    """Return the identity of a directory in a boot, see `boot_id`."""
    return DirectoryIdentity(device=found.st_dev, inode=found.st_ino, boot=boot)


def boot_id() -> str:
    """Return the kernel's id of this boot; empty on systems that have none."""
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
        f"{mount.source}: this is not the directory that was approved. Remove the mount, and add it again"
    )


def _give_tree(directory: int, new_owner: _NewOwner, depth: int = 0) -> None:
    new_owner.apply(directory)
    if depth == MAX_DEPTH:
        return  # what lies deeper was made by a sandbox, or by people who keep it
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if new_owner.concerns(entry.stat(follow_symlinks=False))]
    for name in names:
        try:
            # A pipe must not make the host wait. A link or a socket cannot be opened like this, and keeps its owner.
            below = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=directory)
        except OSError:
            continue  # it was removed or exchanged since it was listed
        with _closing(below):
            if stat.S_ISDIR(os.fstat(below).st_mode):
                _give_tree(below, new_owner, depth + 1)
            else:
                new_owner.apply(below)


@frozen(kw_only=True)
class _NewOwner:
    user_id: int
    group_id: int
    takes_all: bool
    must_succeed: bool

    def concerns(self, found: os.stat_result) -> bool:
        """Say whether a file is to change hands; every directory may hold such files."""
        if stat.S_ISDIR(found.st_mode):
            return True
        has_one_name = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        return has_one_name and self._is_foreign(found)

    def apply(self, descriptor: int) -> None:
        found = os.fstat(descriptor)  # again: the name may mean another file since it was listed
        if self.concerns(found) and self._is_foreign(found):
            try:
                os.fchown(descriptor, self.user_id, self.group_id)
            except OSError:
                if self.must_succeed:
                    raise

    def _is_foreign(self, found: os.stat_result) -> bool:
        is_given = (found.st_uid, found.st_gid) == (self.user_id, self.group_id)
        return not is_given and (self.takes_all or found.st_uid == os.getuid())


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
