"""A read-only SQLite VFS for files that another party may have tampered with.

SQLite's own VFS opens anything at the path of a database or its journal. A pipe there blocks the process for ever. A
header that asks for WAL makes SQLite map shared memory, and the other side can end the process by truncating it.
This VFS opens a path without following links and without blocking, reads only regular files with one name, and has no
shared memory. It locks SQLite's own bytes (https://www.sqlite.org/src/file/src/os.h), so it respects a writer with the
usual VFS.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from functools import cache
from pathlib import Path

import apsw

from nanoclaw_wire.untrusted_paths import open_regular_file

NAME = "nanoclaw-read-only"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PENDING_BYTE = 0x4000_0000
_RESERVED_BYTE = _PENDING_BYTE + 1
_SHARED_FIRST, _SHARED_SIZE = _PENDING_BYTE + 2, 510


def vfs_name() -> str | None:
    """Register the VFS and return its name. Return None, which selects SQLite's own VFS, on other systems than Linux.

    The VFS needs locks that belong to an open file, which only Linux has.
    """
    return NAME if sys.platform == "linux" and _registered() else None


@cache
def _registered() -> ReadOnlyVfs:
    return ReadOnlyVfs()  # the cache keeps it alive, because SQLite holds only a pointer


class ReadOnlyVfs(apsw.VFS):
    def __init__(self) -> None:
        super().__init__(NAME, base="")

    def xFullPathname(self, name: str) -> str:  # noqa: N802  # SQLite's names
        return os.path.abspath(name)  # noqa: PTH100  # `xOpen` refuses links, so do not resolve them

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _ReadOnlyFile:  # type: ignore[override]  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        kind = flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_MAIN_JOURNAL)
        if path is None or not kind:
            raise apsw.CantOpenError("this VFS opens only a database and its journal")
        flags[1] = apsw.SQLITE_OPEN_READONLY | kind
        return _ReadOnlyFile(path)

    def xDelete(self, _name: str, _sync_directory: bool) -> None:  # noqa: N802
        raise apsw.ReadOnlyError("this VFS deletes nothing")


class _ReadOnlyFile:
    """An open file, with the operations that SQLite needs to read it."""

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
            raise apsw.ReadOnlyError("only the other side may write the file")
        if not self._lock(fcntl.F_RDLCK, _PENDING_BYTE, 1):
            raise apsw.BusyError("a writer is about to commit")
        try:
            if not self._lock(fcntl.F_RDLCK, _SHARED_FIRST, _SHARED_SIZE):
                raise apsw.BusyError("a writer is committing")
        finally:
            self._lock(fcntl.F_UNLCK, _PENDING_BYTE, 1)
        self._level = level

    def xUnlock(self, level: int) -> None:  # noqa: N802
        if level < self._level:
            self._lock(fcntl.F_UNLCK, _SHARED_FIRST, _SHARED_SIZE)
            self._level = level

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        query = _flock(fcntl.F_WRLCK, _RESERVED_BYTE, 1)
        lock_type: int = struct.unpack_from("h", fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, query))[0]
        return lock_type != fcntl.F_UNLCK

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
