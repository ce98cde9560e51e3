"""Directories by their identity, which a name does not have.

A name can mean another directory a moment later, but a descriptor cannot. So a directory is opened once, without
following links, and its identity is compared.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from attrs import frozen

# With O_PATH, Linux opens a directory without read permission. Other systems have no O_PATH.
OPEN_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@frozen(kw_only=True)
class DirectoryIdentity:
    """The identity of a directory of this machine, independent of its name.

    Args:
        boot: The kernel's id of the boot in which the other two were read; empty if the kernel has none. A device
            number can change with a reboot.
    """

    device: int
    inode: int
    boot: str = ""

    def matches_approved(self, other: DirectoryIdentity) -> bool:
        """Return True if this is the approved directory; of two boots compare only inodes."""
        return self.inode == other.inode and (self.device == other.device or self.boot != other.boot)

    def to_text(self) -> str:
        """Return the identity as `device:inode:boot`."""
        return f"{self.device}:{self.inode}:{self.boot}"

    @classmethod
    def from_text(cls, text: str) -> DirectoryIdentity:
        """Parse the text of `to_text`.

        Raises:
            ValueError: The text has another form.
        """
        device, _, rest = text.partition(":")
        inode, colon, boot = rest.partition(":")
        if not (device.isdecimal() and inode.isdecimal() and colon):
            raise ValueError(f"must be device:inode:boot, got {text!r}")
        return cls(device=int(device), inode=int(inode), boot=boot)


class Position(Enum):
    """The position of a directory relative to another one, as a verb."""

    SAME = "is"
    BELOW = "lies in"
    ABOVE = "holds"


def open_without_links(path: Path) -> tuple[int, Sequence[DirectoryIdentity]]:
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
    descriptor, identities = open_without_links(path)
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


def is_nested(first: Sequence[DirectoryIdentity], second: Sequence[DirectoryIdentity]) -> bool:
    """Return True if one of two lineages ends below the other; False for the same directory."""
    return first[-1] != second[-1] and (first[-1] in second or second[-1] in first)


def position_of(lineage: Sequence[DirectoryIdentity], directory: Path) -> Position | None:
    """Return the position of a lineage's end relative to a directory; None if neither lies in the other.

    The directories in `directory` count as a part of it, even if they are also mounted elsewhere. A missing directory
    has no position.

    Raises:
        OSError: `directory` cannot be read.
    """
    try:
        other = lineage_of(directory.resolve(strict=True))
    except FileNotFoundError:
        return None
    if other[-1] == lineage[-1]:
        return Position.SAME
    if other[-1] in lineage or any(part in lineage for part in _parts_of(directory)):
        return Position.BELOW
    return Position.ABOVE if lineage[-1] in other else None


def _parts_of(directory: Path) -> list[DirectoryIdentity]:
    boot = boot_id()
    with os.scandir(directory) as entries:
        return [identity_of(entry.stat(), boot) for entry in entries if entry.is_dir()]
