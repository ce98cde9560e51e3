"""Directories of the host that are held open while a sandbox is made from them (I6).

A name can mean another directory by the time an engine opens it, but a descriptor cannot. So each mount is opened once,
without following links below its root. Its identity is compared with the approved one, its ownership changes through
the descriptor, and the runtime compares the mounted directory with the held one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen
from nanoclaw_untrusted.directories import open_without_links
from nanoclaw_untrusted.ownership import change_tree_owner

from nanoclaw_core.descriptors.sandboxes import Mount
from nanoclaw_core.errors import SandboxRefused


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
        try:
            change_tree_owner(directory.descriptor, user_id, group_id, takes_all=directory.mount.identity is None)
        except OSError as error:
            reason = f"its owner cannot be changed to user {user_id}: {error.strerror}"
            raise SandboxRefused(f"{directory.path}: {reason}") from error


def _open(mount: Mount) -> tuple[Path, int]:
    try:
        path = mount.source if mount.identity else mount.source.resolve(strict=True)
        descriptor, identities = open_without_links(path)
    except OSError as error:
        raise SandboxRefused(f"{mount.source}, for {mount.target} in the sandbox: {error.strerror}") from error
    if mount.identity is None or identities[-1].matches_approved(mount.identity):
        return path, descriptor
    os.close(descriptor)
    raise SandboxRefused(
        f"{mount.source}: this is not the directory that was approved. Remove the mount and add it again."
    )
