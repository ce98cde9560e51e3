"""Save the files that an agent sends: below the instance directory, or in a directory that the operator names.

An agent chooses the name and the bytes of its files, and people chat from directories whose files other programs run or
obey: a checkout, a project with a `CLAUDE.md`. So no file lands in the current directory unasked. Nothing runs from
`received/`, where a `json.py` or a `CLAUDE.md` is only a file; that is why such names are kept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path, PurePath

from attrs import frozen
from nanoclaw_wire.layout import is_safe_name

from nanoclaw_channel_terminal.frames import File

RECEIVED = "received"
UNKNOWN_SESSION = "unknown-session"  # for messages that an older version kept without their session
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
        """Return where the files of a session go."""
        return self.save_to or self.home / RECEIVED / _folder_name(session)

    def save(self, file: File, session: object) -> Path:
        """Write a file under a name that is safe and free, and return its absolute path.

        Args:
            session: The session id of the message, or None if the host did not say. Never trusted as a path.

        Raises:
            OSError: It cannot be written.
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
    """Open a directory, made if it is missing, that is closed to others; never through a link."""
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
    """Return a name with a number, cut so that a file system takes it: 255 bytes are a name's limit."""
    ending = f" ({number}){name.suffix}"
    stem = name.stem.encode()[: 255 - len(ending.encode())].decode(errors="ignore")
    return f"{stem}{ending}"


def _write(file: File, folder: int, *, mode: int) -> str:
    """Write a file into an open directory and return its name.

    A name that is no plain file name becomes `file`, and leading dots go: a hidden file would not be found.
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
            os.unlink(free, dir_fd=folder)  # half a file under its name would be taken for the whole
            raise
        return free
    raise FileExistsError(errno.EEXIST, f"{MAX_SAME_NAME} files are called {name}. Remove some")
