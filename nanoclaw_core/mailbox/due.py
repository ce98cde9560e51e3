"""Index of the sessions with waiting work.

A due time in the central database is set before a message is written (I4). After a crash the host finds the unfinished
work without opening the files of every session (⚠27).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

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
        self._writing: Counter[SessionId] = Counter()

    @contextmanager
    def writing(self, session_id: SessionId) -> Iterator[None]:
        """Mark a session as due while and after a message is written into it."""
        self._writing[session_id] += 1
        try:
            if session_id not in self._marked:
                self._set(session_id, BEGINNING_OF_TIME)
            yield
        finally:
            self._writing[session_id] -= 1
            if not self._writing[session_id]:
                del self._writing[session_id]

    def update(self, session_id: SessionId, due_at: str | None) -> None:
        """Set the due time from inbound.db, unless a message is being written into it."""
        if session_id not in self._writing and self._marked.get(session_id, "unknown") != due_at:
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
