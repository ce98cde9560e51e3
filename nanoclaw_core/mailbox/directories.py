"""Session directories: made whole, by trust (I6).

`sessions/` is closed to other users of the machine; below it `in/` belongs to the host and `out/` to the sandbox.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen
from nanoclaw_wire import session_files
from nanoclaw_wire.layout import INBOX, OUTBOX, STATE, Layout, is_safe_name

from nanoclaw_core.errors import InvalidArguments
from nanoclaw_core.ids import SessionId


@frozen
class SessionDirectories:
    """The `sessions/` directory of an instance; `root` is a real path without links."""

    root: Path

    def layout(self, session_id: SessionId) -> Layout:
        """Return where a session's files are, whether or not they exist.

        Raises:
            InvalidArguments: The id is no safe name.
        """
        if not is_safe_name(session_id):
            raise InvalidArguments(f"no session id: {session_id!r}")
        return Layout(incoming=self.root / session_id / "in", outgoing=self.root / session_id / "out")

    def create(self, session_id: SessionId) -> Layout:
        """Make a new session's directories and both files; durable when it returns."""
        layout = self.layout(session_id)
        _make_directories(layout)
        session_files.create_inbound(layout.inbound_db)
        session_files.create_outbound(layout.outbound_db)
        layout.inbound_db.chmod(0o644)  # for the sandbox's user, whatever the umask
        for directory in (layout.incoming, layout.outgoing, layout.incoming.parent, self.root):
            session_files.sync_directory(directory)
        return layout

    def reopen(self, session_id: SessionId) -> Layout:
        """Return a session's files for a sandbox to work with. What is missing of the files is not made anew.

        A file that was made anew would count from the start, and what it said would be taken for what is known.

        Raises:
            apsw.Error, WrongProtocol, OSError: It is not whole.
        """
        layout = self.layout(session_id)
        session_files.open_writable(layout.inbound_db).close()
        layout.outbound_db.lstat()
        _make_directories(layout)
        return layout


def _make_directories(layout: Layout) -> None:
    for directory in (layout.incoming / INBOX, layout.outgoing / OUTBOX, layout.outgoing / STATE):
        directory.mkdir(parents=True, exist_ok=True)
    # The sandbox's user is another one and has to read these, whatever the umask; `sessions/` is the fence.
    for directory in (layout.incoming, layout.inbox):
        directory.chmod(0o755)


def open_root(home: Path) -> SessionDirectories:
    """Make `sessions/` where it is missing, closed to everybody else, and return it."""
    root = home / "sessions"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    return SessionDirectories(root.resolve())
