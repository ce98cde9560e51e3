"""How SQLite opens a file that somebody else may have tampered with: a read-only VFS with nothing to trip over.

SQLite's own VFS opens whatever stands at the name of a database or its journal. A pipe there blocks the process for
ever, and a file whose header asks for WAL makes it map shared memory that the other side can truncate under it, which
ends the process. Here a name is opened without following links and without blocking, only plain files with one name
are read, and there is no shared memory. Locks are taken on SQLite's own bytes
(https://www.sqlite.org/src/file/src/os.h), so a writer with the usual VFS is respected.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys
from functools import cache
from pathlib import Path

import apsw

NAME = "nanoclaw-careful"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DELETED = " (deleted)"  # what Linux writes behind the path of an open file whose name is gone
_PENDING_BYTE = 0x4000_0000
_RESERVED_BYTE = _PENDING_BYTE + 1
_SHARED_FIRST, _SHARED_SIZE = _PENDING_BYTE + 2, 510


def vfs_name() -> str | None:
    """Return the VFS's name, registered; None, the system's own, where it cannot be had.

    It needs locks that belong to the open file, which are Linux's.
    """
    return NAME if sys.platform == "linux" and _registered() else None


def open_regular_file(folder: int, name: str) -> int:
    """Open a file for reading, by the descriptor of its folder: a plain file that has this name and no other.

    Raises:
        OSError: There is none, or it is something else: a link, a pipe, a device, a directory, a second name.
    """
    descriptor = os.open(name, _OPEN, dir_fd=folder)
    try:
        if is_single_link(descriptor, folder, name):
            return descriptor
        raise OSError(errno.EPERM, "it is not a plain file with one name")
    except OSError:
        os.close(descriptor)
        raise


def is_single_link(descriptor: int, folder: int, name: str) -> bool:
    """Say whether an open file is a plain one whose only name is the one it was opened by.

    Counting names is not enough: whoever opens a file of somebody else's by a second name that is removed before the
    count finds one name, the foreign one. So the name it was opened by must still stand *after* the count. Linux
    knows it for every open file, also where another file or the same one has taken the name since, but a removal
    counts down first and takes the name away a moment later; reading the folder waits for one that is under way.
    Elsewhere than on Linux the count is all there is.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return False
    if sys.platform != "linux":
        return True
    with os.scandir(folder) as entries:
        next(entries, None)
    path, below = (Path(f"/proc/self/fd/{opened}").readlink() for opened in (descriptor, folder))
    return path == below / name and not name.endswith(_DELETED)


@cache
def _registered() -> ReadOnlyVfs:
    return ReadOnlyVfs()  # kept by the cache: SQLite itself holds only a pointer


class ReadOnlyVfs(apsw.VFS):
    def __init__(self) -> None:
        super().__init__(NAME, base="")

    def xFullPathname(self, name: str) -> str:  # noqa: N802  # SQLite's names
        return os.path.abspath(name)  # noqa: PTH100  # links are refused when it is opened, not resolved

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _CarefulFile:  # type: ignore[override]  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        kind = flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_MAIN_JOURNAL)
        if path is None or not kind:
            raise apsw.CantOpenError("only a database and its journal are opened")
        flags[1] = apsw.SQLITE_OPEN_READONLY | kind
        return _CarefulFile(path)

    def xDelete(self, _name: str, _sync_directory: bool) -> None:  # noqa: N802
        raise apsw.ReadOnlyError("nothing of the other side's is deleted")


class _CarefulFile:
    """One open file: what SQLite needs to read it, and nothing that writes."""

    def __init__(self, path: str) -> None:
        try:
            folder = os.open(Path(path).parent, _FOLDER)
            try:
                self._descriptor = open_regular_file(folder, Path(path).name)
            finally:
                os.close(folder)
        except OSError as error:
            raise apsw.CantOpenError(f"{path}: {error.strerror}") from error
        self._level = apsw.SQLITE_LOCK_NONE

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return os.pread(self._descriptor, amount, offset)

    def xFileSize(self) -> int:  # noqa: N802
        return os.fstat(self._descriptor).st_size

    def xLock(self, level: int) -> None:  # noqa: N802
        if level <= self._level:
            return
        if level > apsw.SQLITE_LOCK_SHARED:
            raise apsw.ReadOnlyError("the file is the other side's to write")
        if not self._lock(fcntl.F_RDLCK, _PENDING_BYTE, 1):
            raise apsw.BusyError("a writer is about to commit")
        try:
            if not self._lock(fcntl.F_RDLCK, _SHARED_FIRST, _SHARED_SIZE):
                raise apsw.BusyError("a writer commits")
        finally:
            self._lock(fcntl.F_UNLCK, _PENDING_BYTE, 1)
        self._level = level

    def xUnlock(self, level: int) -> None:  # noqa: N802
        if level < self._level:
            self._lock(fcntl.F_UNLCK, _SHARED_FIRST, _SHARED_SIZE)
            self._level = level

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        asked = _flock(fcntl.F_WRLCK, _RESERVED_BYTE, 1)
        found: int = struct.unpack_from("h", fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, asked))[0]
        return found != fcntl.F_UNLCK

    def xSectorSize(self) -> int:  # noqa: N802
        return 4096

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0

    def xFileControl(self, _operation: int, _pointer: int) -> bool:  # noqa: N802
        return False

    def xClose(self) -> None:  # noqa: N802
        os.close(self._descriptor)

    def _lock(self, kind: int, start: int, length: int) -> bool:
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _flock(kind, start, length))
        except (BlockingIOError, PermissionError):
            return False
        return True


def _flock(kind: int, start: int, length: int) -> bytes:
    return struct.pack("hhqqi", kind, os.SEEK_SET, start, length, 0)
