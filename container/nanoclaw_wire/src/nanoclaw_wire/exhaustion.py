"""Errors that say something about the machine, and nothing about the message or the file that met them.

A runner that meets one leaves with `EXIT_NO_ROOM`: its messages stay pending, and the host counts no failed try.
"""

from __future__ import annotations

import errno

import apsw

EXIT_NO_ROOM = 5
EXHAUSTED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)  # fmt: skip
_EXHAUSTED_DATABASE = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.NoMemError)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if a process met its limit of memory. Unlike a full disk, the same work may meet it each time."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_out_of_memory(one) for one in error.exceptions)
    return isinstance(error, MemoryError) or (error.__cause__ is not None and is_out_of_memory(error.__cause__))


def is_exhausted(error: BaseException) -> bool:
    """Return True if the machine has no room, descriptors or memory, or if its disk does not work.

    The same work succeeds later, so it must be kept and tried again. An error counts by its cause, too, and a group of
    errors by each of them. SQLite does not say why it cannot open a file, so `apsw.CantOpenError` does not count.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(is_exhausted(one) for one in error.exceptions)
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return True
    if isinstance(error, (MemoryError, *_EXHAUSTED_DATABASE)):
        return True
    return error.__cause__ is not None and is_exhausted(error.__cause__)
