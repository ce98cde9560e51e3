"""Errors of an exhausted machine, which do not mean that the message or the file at hand is faulty.

A runner that meets one exits with `EXIT_NO_ROOM`. Its messages stay pending, and the host counts no failed try.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import apsw

EXIT_NO_ROOM = 5
EXHAUSTED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)  # fmt: skip
_EXHAUSTED_DATABASE = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.NoMemError)
_PROBE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Exhausted(Exception):
    """A text of another program that reports an exhausted machine."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if a process met its memory limit. Unlike a full disk, the same work may meet it each time."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_out_of_memory(member) for member in error.exceptions)
    return isinstance(error, MemoryError) or (error.__cause__ is not None and is_out_of_memory(error.__cause__))


def original_error(error: BaseException) -> BaseException:
    """Return the error that ended a transaction, or the error itself.

    On a full disk, SQLite itself rolls back a transaction that is larger than its page cache. The rollback of `with db`
    then raises an `apsw.SQLError`, which hides the error of the disk.
    """
    while isinstance(error, apsw.SQLError) and isinstance(error.__context__, apsw.Error):
        error = error.__context__
    return error


def is_exhausted(error: BaseException) -> bool:
    """Return True if the machine has no space, descriptors or memory, or if its disk fails.

    The same work succeeds later, so keep it and retry. The function also checks the error's cause and each member of a
    group. It judges an `apsw.CantOpenError` by the cause alone, which `attach_shortage` sets.
    """
    error = original_error(error)
    if isinstance(error, BaseExceptionGroup):
        return any(is_exhausted(member) for member in error.exceptions)
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return True
    if isinstance(error, (Exhausted, MemoryError, *_EXHAUSTED_DATABASE)):
        return True
    return error.__cause__ is not None and is_exhausted(error.__cause__)


@contextlib.contextmanager
def explain_cannot_open(directory: Path) -> Iterator[None]:
    """Set the cause of an `apsw.CantOpenError` of this block; see `attach_shortage`."""
    try:
        yield
    except apsw.CantOpenError as error:
        attach_shortage(error, directory)
        raise


def attach_shortage(error: apsw.CantOpenError, directory: Path) -> None:
    """Set the cause of an error if the machine is exhausted.

    SQLite does not report why it cannot open a file: the file may be missing, or the process may have no descriptors
    left. So this probes the machine. Call it before the error unwinds and frees some descriptors.

    Args:
        error: The error. It keeps a cause that it has.
        directory: The directory of the database, in which SQLite creates the journal.
    """
    shortage = find_shortage(directory) if error.__cause__ is None else None
    if shortage is not None:
        error.__cause__ = shortage


def find_shortage(directory: Path) -> OSError | None:
    """Create, write and remove a probe file. Return the error if the machine is exhausted, else None."""
    path = directory / f".probe-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(path, _PROBE, 0o600)
        try:
            path.unlink()  # before the write, so that a process killed here leaves no file
            os.write(descriptor, b"x")
        finally:
            os.close(descriptor)
    except OSError as error:
        return error if is_exhausted(error) else None
    return None
