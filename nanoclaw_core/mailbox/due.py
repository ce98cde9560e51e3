"""Index of the sessions with waiting work.

A due time in the central database is set before a message is written (I4). After a crash the host finds the unfinished
work without opening the files of every session (⚠27).
"""

from __future__ import annotations

import apsw
from nanoclaw_wire.inbound import BEGINNING_OF_TIME

from nanoclaw_core.ids import SessionId
from nanoclaw_core.store import sessions
from nanoclaw_core.store.connection import central


class DueIndex:
    """The due times of the sessions of one host.

    Marking a marked session again costs nothing.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._marked: dict[SessionId, str] = {}

    def mark(self, session_id: SessionId) -> None:
        """Mark a session as due, before a message that wakes its agent is appended to its inbox.

        Await nothing between the two: `Mailbox.update_due` leaves the mark while an append is pending.
        """
        if self._marked.get(session_id) != BEGINNING_OF_TIME:
            self._set(session_id, BEGINNING_OF_TIME)

    def update(self, session_id: SessionId, due_at: str | None) -> None:
        """Set the due time from inbound.db."""
        if self._marked.get(session_id, "unknown") != due_at:
            self._set(session_id, due_at)

    def waiting(self, now: str) -> list[SessionId]:
        """Return the sessions that are due at `now`, the earliest first."""
        return sessions.due(self._db, now)

    def _set(self, session_id: SessionId, due_at: str | None) -> None:
        with central():
            sessions.set_due(self._db, session_id, due_at)
        if due_at is None:
            self._marked.pop(session_id, None)
        else:
            self._marked[session_id] = due_at
