"""Reads of a sandbox's output, without trust in it (I6).

outbound.db is only opened read-only. A hot journal is left for the next runner to roll back, because a rollback follows
a file name that the sandbox could have written (`docs/decisions/0002`). Files are opened through directory descriptors
without following links, and their size is limited.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import apsw
from attrs import frozen
from nanoclaw_untrusted.bounded_databases import BoundedReaders, limit_cpu
from nanoclaw_untrusted.bounded_databases import NeedsRecovery as NeedsRecovery
from nanoclaw_untrusted.files import past_time_of, read_files
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.layout import is_safe_name
from nanoclaw_wire.outbound import Acknowledgement, Activity, OutboundMessage, RunnerState
from nanoclaw_wire.session_files import NotARegularFile, WrongProtocol
from nanoclaw_wire.untrusted_paths import open_directory

from nanoclaw_core.descriptors.messages import OutboundFile
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import SessionDirectories

BUSY_TIMEOUT_MS = 50  # a runner's commit takes 1 to 2 ms; a sandbox with a longer lock must not stop the host
ROW_BATCH = 100  # reading a batch blocks the event loop for 0.01 s
MAX_ROW_BYTES = 8_000_000  # a million escaped characters of text, and some room
MAX_READ_CHARACTERS = 2_000_000  # of one batch, which always has at least one row
READ_CPU_S = 0.5  # an honest file takes 0.005 s; a hostile schema can make any row arbitrarily slow
MAX_FILES = 50


UNREADABLE = (apsw.Error, NotARegularFile, WrongProtocol, NeedsRecovery, ValueError, OSError)
"""Errors of a session's files that cannot be read now."""


@frozen(kw_only=True)
class OutboxSnapshot:
    """New rows of an outbound.db.

    Args:
        has_more: True if more rows wait.
        finished: The ids of the messages that the runner has finished since the last copied acknowledgement; None if
            it reports an open turn, if more rows wait or if no runner ever ran.
    """

    messages: Sequence[OutboundMessage]
    has_more: bool = False
    finished: Set[str] | None = None


class OutboxReader:
    """All outbound.db files of a host; the files of running sessions stay open."""

    def __init__(self, directories: SessionDirectories, *, file_bytes: int) -> None:
        self._directories, self._file_bytes = directories, file_bytes
        self._files = BoundedReaders[SessionId](
            lambda session_id: open_outbound(directories.layout(session_id).outbound_db), cpu_s=READ_CPU_S
        )

    def read_new(self, session_id: SessionId, after_seq: int, after_revision: int = 0) -> OutboxSnapshot:
        """Read the next messages, at most `ROW_BATCH`, and from an idle runner the finished messages.

        Args:
            session_id: The session.
            after_seq: The number of the last imported message.
            after_revision: The revision of the last copied acknowledgement.

        Raises:
            NeedsRecovery: A runner must repair the file first.
            apsw.Error, NotARegularFile, WrongProtocol, ValueError: The file is damaged, locked or of the wrong type.
        """

        def read(db: apsw.Connection) -> OutboxSnapshot:
            # Read the state first: all messages that the runner wrote before it became idle are then read, too.
            state = outbound.runner_state(db)
            is_idle = state is not None and state.activity is Activity.IDLE
            finished = outbound.settled_after(db, after_revision) if is_idle else None
            messages = outbound.messages_after(db, after_seq, limit=ROW_BATCH, max_characters=MAX_READ_CHARACTERS)
            has_more = bool(messages) and outbound.has_messages_after(db, messages[-1].seq)
            return OutboxSnapshot(messages=messages, has_more=has_more, finished=None if has_more else finished)

        return self._files.query(session_id, read)

    def last_seq(self, session_id: SessionId) -> int:
        """Return the number of the last message, 0 if there is none. Raises as `read_new` does."""
        return self._files.query(session_id, outbound.last_seq)

    def acknowledgements(self, session_id: SessionId, after_revision: int) -> list[Acknowledgement]:
        """Read the acknowledgements after a revision, at most `ROW_BATCH`.

        Raises as `read_new` does.
        """
        return self._files.query(
            session_id, lambda db: outbound.acknowledgements_after(db, after_revision, limit=ROW_BATCH)
        )

    def claims(self, session_id: SessionId) -> list[Acknowledgement]:
        """Read the messages that the runner works on. Raises as `read_new` does."""
        return self._files.query(session_id, outbound.claims)

    def finished(self, session_id: SessionId, message_ids: Iterable[str]) -> set[str]:
        """Return those of the messages that the runner has finished.

        Raises as `read_new` does.
        """
        return self._files.query(session_id, lambda db: outbound.settled(db, message_ids))

    def state(self, session_id: SessionId) -> RunnerState | None:
        """Read the runner's reported state. Raises as `read_new` does."""
        return self._files.query(session_id, outbound.runner_state)

    def files(self, session_id: SessionId, message_id: str, names: Sequence[object]) -> list[OutboundFile]:
        """Read the files of a message.

        Raises:
            InvalidFile: A file cannot be read.
            OSError: The machine has no room, descriptors or memory.
        """
        if not names:
            return []
        outbox = self._directories.layout(session_id).outbox
        found = read_files(outbox, message_id, names, max_files=MAX_FILES, max_bytes=self._file_bytes)
        return [OutboundFile(name=name, content=content) for name, content in found]

    def clear(self, session_id: SessionId, message_id: str) -> None:
        """Move a message's folder into the trash if possible.

        Errors are ignored, because they must not send the message again.
        """
        outbox = self._directories.layout(session_id).outbox
        if not is_safe_name(message_id):
            return
        with contextlib.suppress(OSError), open_directory(outbox) as outer:
            self._directories.trash.put(message_id, inside=outer)

    def heartbeat_at(self, session_id: SessionId) -> float | None:
        """Return the time of the runner's last heartbeat in epoch seconds, or None if it is unknown."""
        return past_time_of(self._directories.layout(session_id).heartbeat)

    def runner_log(self, session_id: SessionId) -> Path:
        """Return the path of the runner's log for people; the host itself never reads it."""
        return self._directories.layout(session_id).runner_log

    def release(self, session_id: SessionId) -> None:
        """Close the session's file."""
        self._files.release(session_id)

    def close(self) -> None:
        """Close all files."""
        self._files.close()


def open_outbound(path: Path, *, cpu_s: float = READ_CPU_S) -> apsw.Connection:
    """Open an outbound.db for reading with a limit of processor time.

    Raises as `open_readable` does.
    """
    db = session_files.open_readable(
        path, busy_timeout_ms=BUSY_TIMEOUT_MS, prepare=lambda opened: limit_cpu(opened, cpu_s)
    )
    db.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
    return db
