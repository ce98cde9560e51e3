"""Reads an SQLite file that another process may be writing, without changing it or the files beside it."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw
from nanoclaw_wire.errors import NanoclawError

T = TypeVar("T")
MAX_COPY_BYTES = 100_000_000  # of a database with a log; a copy takes a tenth of a second


def read_unchanged(path: Path, read: Callable[[apsw.Connection], T], *, busy_timeout_ms: int) -> T:
    """Call a function with a read-only connection to a database; return its result.

    SQLite would create or rebuild a `-shm` beside a log that no process uses, so the function reads a copy. It reads
    the files themselves if a process writes them meanwhile, if they are larger than `MAX_COPY_BYTES`, or if no copy can
    be stored. SQLite may then write the `-shm`. The function may be called twice.

    Raises:
        NanoclawError: The path or its log is not a regular file.
        apsw.Error: The database cannot be opened.
    """

    def answer(file: Path, mode: str = "") -> T:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        with contextlib.closing(apsw.Connection(f"{file.absolute().as_uri()}{mode}", flags=flags)) as db:
            db.set_busy_timeout(busy_timeout_ms)
            return read(db)

    stamps = _stamps(path)
    if sum(size for size, *_ in stamps[1:]) == 0:
        answered = answer(path, "?immutable=1")  # it keeps SQLite from creating files
        if _stamps(path) == stamps:  # else a process began to write, which `immutable` shows as damage
            return answered
    elif sum(size for size, *_ in stamps) <= MAX_COPY_BYTES:
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as copies:
            for suffix in ("", "-wal"):
                shutil.copyfile(f"{path}{suffix}", Path(copies, path.name + suffix))
            if _stamps(path) == stamps:
                return answer(Path(copies, path.name))
    return answer(path)


def _stamps(path: Path) -> list[tuple[int, int, int]]:
    """Return size, time and inode of the database and of its write-ahead log, if they exist."""
    found = []
    for file in (path, Path(f"{path}-wal")):
        with contextlib.suppress(FileNotFoundError):
            found.append(file.stat())
    if not all(stat.S_ISREG(status.st_mode) for status in found):  # SQLite would wait for the other end of a pipe
        raise NanoclawError(f"{path} or its -wal is not a regular file. Move it away.")
    return [(status.st_size, status.st_mtime_ns, status.st_ino) for status in found]
