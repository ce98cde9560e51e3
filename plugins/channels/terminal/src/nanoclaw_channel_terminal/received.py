"""Saves the files that an agent sends.

They go below the instance directory, or into a directory that the operator names.

An agent chooses the name and the content of its files. People chat in a checkout or in a project with a `CLAUDE.md`,
and other programs run or obey the files there. So no file is saved in the current directory by default. Nothing runs
from `received/`, so names such as `json.py` and `CLAUDE.md` are harmless there and stay.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path, PurePath

from attrs import frozen
from nanoclaw_wire.layout import is_safe_name

from nanoclaw_channel_terminal.frames import TransferredFile

RECEIVED = "received"
UNKNOWN_SESSION = "unknown-session"  # for messages that an older version stored without their session
MAX_SAME_NAME = 9_999
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@frozen(kw_only=True)
class ReceivedFiles:
    """The place for files from an agent.

    Args:
        home: The instance directory, absolute.
        save_to: The directory that the operator chose, absolute, or None for `received/<session>/` in `home`.
    """

    home: Path
    save_to: Path | None

    def directory(self, session: object) -> Path:
        """Return the directory for the files of a session."""
        return self.save_to or self.home / RECEIVED / _folder_name(session)

    def save(self, file: TransferredFile, session: object) -> Path:
        """Write a file under a safe and unused name, and return its absolute path.

        Args:
            file: The file.
            session: The session id of the message, or None if it is unknown. It is never trusted as a path.

        Raises:
            OSError: The file cannot be written.
        """
        with contextlib.ExitStack() as opened:
            if self.save_to is not None:
                folder = _opened(opened, self.save_to)
                return self.save_to / _write(file, folder, mode=0o666)  # the umask decides, as for any program's file
            folder = _opened(opened, self.home)
            for name in (RECEIVED, _folder_name(session)):
                folder = _opened_private(opened, name, folder)
            return self.directory(session) / _write(file, folder, mode=0o600)


def _folder_name(session: object) -> str:
    return str(session) if is_safe_name(session) and not str(session).startswith(".") else UNKNOWN_SESSION


def _opened(opened: contextlib.ExitStack, path: Path) -> int:
    descriptor = os.open(path, _DIRECTORY)
    opened.callback(os.close, descriptor)
    return descriptor


def _opened_private(opened: contextlib.ExitStack, name: str, parent: int) -> int:
    """Open a directory that only its owner can use.

    Create it if it is missing; never follow a link.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    try:
        descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        problem = f"`{name}` is a link or a file. Remove it, or choose another directory with --save-to"
        raise NotADirectoryError(error.errno, problem) from error
    opened.callback(os.close, descriptor)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o700:
        os.fchmod(descriptor, 0o700)
    return descriptor


def _numbered(name: PurePath, number: int) -> str:
    """Return a name with a number, cut to 255 bytes, the limit of file systems."""
    ending = f" ({number}){name.suffix}"
    stem = name.stem.encode()[: 255 - len(ending.encode())].decode(errors="ignore")
    return f"{stem}{ending}"


def _write(file: TransferredFile, folder: int, *, mode: int) -> str:
    """Write a file into an open directory and return its name.

    A name that is no plain file name becomes `file`. Leading dots are removed, because users do not see hidden files.
    """
    name = PurePath((file.name.lstrip(".") if is_safe_name(file.name) else "") or "file")
    for number in range(1, MAX_SAME_NAME + 1):
        free = name.name if number == 1 else _numbered(name, number)
        try:
            descriptor = os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)
        except FileExistsError:
            continue
        try:
            with os.fdopen(descriptor, "wb") as target:
                target.write(file.content)
        except OSError:
            os.unlink(free, dir_fd=folder)  # a partial file would look complete
            raise
        return free
    raise FileExistsError(errno.EEXIST, f"{MAX_SAME_NAME} files have the name {name}. Remove some")
