"""Which sessions have something to do: a mark in the central database, set before the message is written (I4).

With it a start finds the work that a crash left without looking into every session there ever was (⚠27).
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
    """The marks of one host; what is marked already costs nothing to mark again."""

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

    def settle(self, session_id: SessionId, due_at: str | None) -> None:
        """Set the mark to what inbound.db says, unless a message is just being written into it."""
        if session_id not in self._writing and self._marked.get(session_id, "unknown") != due_at:
            self._set(session_id, due_at)

    def waiting(self, now: str) -> list[SessionId]:
        """Return the sessions that are due."""
        return sessions.due(self._db, now)

    def _set(self, session_id: SessionId, due_at: str | None) -> None:
        with central():
            sessions.set_due(self._db, session_id, due_at)
        if due_at is None:
            self._marked.pop(session_id, None)
        else:
            self._marked[session_id] = due_at
