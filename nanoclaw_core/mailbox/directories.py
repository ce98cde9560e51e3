"""Session directories: made whole, by trust (I6).

`sessions/` is closed to other users of the machine; below it `in/` belongs to the host and `out/` to the sandbox.
"""

from __future__ import annotations

import os
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
        """Make a session's directories and both files; what exists stays."""
        layout = self.layout(session_id)
        for directory in (layout.incoming / INBOX, layout.outgoing / OUTBOX, layout.outgoing / STATE):
            directory.mkdir(parents=True, exist_ok=True)
        session_files.create_inbound(layout.inbound_db).close()
        # The sandbox's user is another one and has to read these, whatever the umask; `sessions/` is the fence.
        for directory in (layout.incoming, layout.inbox):
            directory.chmod(0o755)
        layout.inbound_db.chmod(0o644)
        if not os.path.lexists(layout.outbound_db):
            session_files.create_outbound(layout.outbound_db)
        return layout


def open_root(home: Path) -> SessionDirectories:
    """Make `sessions/` where it is missing, closed to everybody else, and return it."""
    root = home / "sessions"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    return SessionDirectories(root.resolve())
