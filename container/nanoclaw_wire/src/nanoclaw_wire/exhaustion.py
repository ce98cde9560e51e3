"""Errors that say something about the machine, and nothing about the message or the file that met them.

A runner that meets one leaves with `EXIT_NO_ROOM`: its messages stay pending, and the host counts no failed try.
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
    """Another program reported in words that the machine is exhausted."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if a process met its limit of memory. Unlike a full disk, the same work may meet it each time."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_out_of_memory(one) for one in error.exceptions)
    return isinstance(error, MemoryError) or (error.__cause__ is not None and is_out_of_memory(error.__cause__))


def is_exhausted(error: BaseException) -> bool:
    """Return True if the machine has no room, descriptors or memory, or if its disk does not work.

    The same work succeeds later, so it must be kept and tried again. An error counts by its cause, too, and a group of
    errors by each of them. An `apsw.CantOpenError` counts by its cause alone, which `explain_cannot_open` finds.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(is_exhausted(one) for one in error.exceptions)
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return True
    if isinstance(error, (Exhausted, MemoryError, *_EXHAUSTED_DATABASE)):
        return True
    return error.__cause__ is not None and is_exhausted(error.__cause__)


@contextlib.contextmanager
def explain_cannot_open(directory: Path) -> Iterator[None]:
    """Find the cause of an `apsw.CantOpenError` in this block.

    SQLite does not say why it cannot open a file: the file may be missing, or the process has no descriptors left. So
    the machine is probed, before the error unwinds and frees some.

    Args:
        directory: The directory of the database, in which SQLite creates the journal.
    """
    try:
        yield
    except apsw.CantOpenError as error:
        shortage = find_shortage(directory) if error.__cause__ is None else None
        if shortage is None:
            raise
        raise error from shortage


def find_shortage(directory: Path) -> OSError | None:
    """Create a file, write a byte and remove the file. Return the error if the machine is exhausted, else None."""
    path = directory / f".probe-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(path, _PROBE, 0o600)
        try:
            path.unlink()  # before the write: a process that is killed here leaves no file
            os.write(descriptor, b"x")
        finally:
            os.close(descriptor)
    except OSError as error:
        return error if is_exhausted(error) else None
    return None
