"""Session directories, separated by trust (I6).

Other users of the machine cannot enter `sessions/`. Below it `in/` belongs to the host and `out/` to the sandbox.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from attrs import Factory, field, frozen
from nanoclaw_wire import session_files
from nanoclaw_wire.atomic_files import sync_directory
from nanoclaw_wire.layout import INBOX, OUTBOX, STATE, Layout, is_safe_name
from nanoclaw_wire.names import SESSIONS
from nanoclaw_wire.trash import Trash

from nanoclaw_core.errors import InvalidArguments
from nanoclaw_core.ids import SessionId

QUARANTINE_SUFFIX, QUARANTINE_TIME = ".broken-", "%Y%m%dT%H%M%SZ"  # text order is time order


@frozen
class SessionDirectories:
    """The `sessions/` directory of an instance; `root` is a real path without links."""

    root: Path
    trash: Trash = field(init=False, default=Factory(lambda self: Trash(self.root / ".trash"), takes_self=True))

    def layout(self, session_id: SessionId) -> Layout:
        """Return the paths of a session's files, which need not exist.

        Raises:
            InvalidArguments: The id is not a safe name.
        """
        if not is_safe_name(session_id):
            raise InvalidArguments(f"session id: must be a safe file name, got {session_id!r}")
        return Layout.below(self.root / session_id)

    def create(self, session_id: SessionId) -> Layout:
        """Create a new session's directories and both databases; they are durable when this returns."""
        layout = self.layout(session_id)
        _make_directories(layout)
        session_files.create_inbound(layout.inbound_db)
        session_files.create_outbound(layout.outbound_db)
        for directory in (layout.incoming.parent, self.root):
            sync_directory(directory)
        return layout

    def reopen(self, session_id: SessionId) -> Layout:
        """Return the paths of an existing session's files for a sandbox.

        Never recreate a missing file: its sequence numbers would restart at 1 and collide with imported rows.

        Raises:
            apsw.Error, WrongProtocol, OSError: A file is missing or cannot be opened.
        """
        layout = self.layout(session_id)
        session_files.open_writable(layout.inbound_db).close()
        layout.outbound_db.lstat()
        _make_directories(layout)
        return layout

    def quarantined(self, session_id: str = "*") -> list[str]:
        """Return the names of the directories of quarantined sessions, or of one of them."""
        return [path.name for path in self.root.glob(f"{session_id}{QUARANTINE_SUFFIX}*")]

    def discard(self, session_id: SessionId) -> None:
        """Move all files of a session into the trash; this is durable when it returns.

        Raises:
            OSError: Some files are still there.
        """
        directory = self.layout(session_id).incoming.parent
        for name in (directory.name, *self.quarantined(session_id)):
            with contextlib.suppress(FileNotFoundError):
                self.trash.put(self.root / name, sync=True)


def _make_directories(layout: Layout) -> None:
    for directory in (layout.incoming / INBOX, layout.outgoing / OUTBOX, layout.outgoing / STATE):
        directory.mkdir(parents=True, exist_ok=True)
    # The sandbox runs as another user, who must read these under any umask; the mode of `sessions/` protects them.
    for directory in (layout.incoming, layout.inbox):
        directory.chmod(0o755)


def open_root(home: Path) -> SessionDirectories:
    """Return `sessions/`, closed to other users. Create it if it is missing; `InstancePaths.make` closes an old one."""
    root = home / SESSIONS
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SessionDirectories(root.resolve())
