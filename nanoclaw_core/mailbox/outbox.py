"""Reading what a sandbox wrote, trusting none of it (I6).

outbound.db is only ever opened read-only: a hot journal is left for the next runner to roll back, because rolling back
follows a file name that the sandbox could have written (`docs/decisions/0002`). Files are reached through directory
descriptors without following links, and are bounded in size.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import apsw
from attrs import frozen
from nanoclaw_wire import outbound, session_files
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.layout import is_safe_name
from nanoclaw_wire.outbound import Acknowledgement, OutboundMessage, RunnerState
from nanoclaw_wire.untrusted_files import open_regular_file

from nanoclaw_core.descriptors.messages import OutboundFile
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import SessionDirectories

BUSY_TIMEOUT_MS = 50  # a runner's commit takes one or two; a sandbox that locks longer must not stop the host
ROWS_AT_ONCE = 100  # a look at so many takes a hundredth of a second, and nobody else has a turn meanwhile
ROW_BYTES_AT_MOST = 8_000_000  # a million characters of text, escaped, and some room
LOOK_BYTES_AT_MOST = 32_000_000  # of one look, which always takes one row
LOOK_CPU_S = 0.5  # honest files take a hundredth; a schema of the sandbox's own can make any row cost anything
_STEPS_BETWEEN = 100
FILES_AT_MOST = 50
CLOCKS_APART_S = 10.0  # a virtual machine's clock and ours
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OutboxRefused(Exception):
    """A file that a message names is not there, is no plain file, or is too large. The message says which."""


class NeedsItsRunner(Exception):
    """outbound.db waits for a runner to repair it: one was killed in the middle of a write."""


@frozen(kw_only=True)
class OutboxSnapshot:
    """What came since the last look.

    Args:
        state: What the runner is doing; None where none ever ran.
        has_more: True where another look will bring more.
    """

    messages: Sequence[OutboundMessage]
    state: RunnerState | None
    has_more: bool = False


class OutboxReader:
    """All outbound sides of a host; the files of running sessions stay open."""

    def __init__(self, directories: SessionDirectories, *, file_bytes: int) -> None:
        self._directories, self._file_bytes = directories, file_bytes
        self._open: dict[SessionId, apsw.Connection] = {}

    def news(self, session_id: SessionId, after_seq: int) -> OutboxSnapshot:
        """Read the next messages, at most `ROWS_AT_ONCE`, and the runner's state.

        Raises:
            NeedsItsRunner: A runner has to repair the file first.
            apsw.Error, NotARegularFile, WrongProtocol, ValueError: It is damaged, locked or not what it should be.
        """
        with self._database(session_id) as db:
            found = outbound.messages_after(db, after_seq, limit=ROWS_AT_ONCE, bytes_at_most=LOOK_BYTES_AT_MOST)
            has_more = bool(found) and outbound.has_messages_after(db, found[-1].seq)
            return OutboxSnapshot(messages=found, state=outbound.runner_state(db), has_more=has_more)

    def acknowledgements(self, session_id: SessionId, after_revision: int) -> list[Acknowledgement]:
        """Read what the runner acknowledged since a revision, at most `ROWS_AT_ONCE`. Raises as `news` does."""
        with self._database(session_id) as db:
            return outbound.acknowledgements_after(db, after_revision, limit=ROWS_AT_ONCE)

    def claims(self, session_id: SessionId) -> list[Acknowledgement]:
        """Read what the runner was working on. Raises as `news` does."""
        with self._database(session_id) as db:
            return outbound.claims(db)

    def settled(self, session_id: SessionId, message_ids: Sequence[str]) -> set[str]:
        """Say which messages the runner is done with. Raises as `news` does."""
        with self._database(session_id) as db:
            return outbound.settled(db, message_ids)

    def state(self, session_id: SessionId) -> RunnerState | None:
        """Read what the runner says of itself. Raises as `news` does."""
        with self._database(session_id) as db:
            return outbound.runner_state(db)

    def files(self, session_id: SessionId, message_id: str, names: Sequence[object]) -> list[OutboundFile]:
        """Read the files that a message names.

        Raises:
            OutboxRefused: One cannot be had; none is returned.
        """
        if not names:
            return []
        if len(names) > FILES_AT_MOST or not is_safe_name(message_id):
            raise OutboxRefused(
                f"{len(names)} files in folder {message_id!r}; at most {FILES_AT_MOST} in a safe folder"
            )
        try:
            with (
                _directory(self._directories.layout(session_id).outbox) as outer,
                _directory(message_id, outer) as folder,
            ):
                return _read_all(folder, names, self._file_bytes)
        except OSError as error:
            if is_exhausted(error):  # says nothing about the message: it waits
                raise
            raise OutboxRefused(f"the folder outbox/{message_id} cannot be opened: {error.strerror}") from error

    def clear(self, session_id: SessionId, message_id: str) -> None:
        """Remove a message's folder; best effort, because failing here must not send the message again.

        One with more in it than a message has is left: it is the sandbox's own room that fills up.
        """
        if not is_safe_name(message_id):
            return
        with contextlib.suppress(OSError), _directory(self._directories.layout(session_id).outbox) as outer:
            with _directory(message_id, outer) as folder, os.scandir(folder) as entries:
                for entry in islice(entries, FILES_AT_MOST):
                    os.unlink(entry.name, dir_fd=folder)
            os.rmdir(message_id, dir_fd=outer)

    def heartbeat_at(self, session_id: SessionId) -> float | None:
        """Return when the runner last showed life, epoch seconds; None where it did not, or where nobody can know.

        A time ahead of the clock says nothing: the clock was set back, or the sandbox made it up. Never in the future.
        """
        try:
            found = self._directories.layout(session_id).heartbeat.lstat()
        except OSError:
            return None
        now = time.time()
        is_known = stat.S_ISREG(found.st_mode) and found.st_mtime <= now + CLOCKS_APART_S
        return min(found.st_mtime, now) if is_known else None

    def runner_log(self, session_id: SessionId) -> Path:
        """Return where the runner keeps its log, for people to look into; the host itself never reads it."""
        return self._directories.layout(session_id).runner_log

    def release(self, session_id: SessionId) -> None:
        """Close the session's file."""
        db = self._open.pop(session_id, None)
        if db is not None:
            db.close()

    def close(self) -> None:
        """Close all files."""
        for session_id in list(self._open):
            self.release(session_id)

    @contextmanager
    def _database(self, session_id: SessionId) -> Iterator[apsw.Connection]:
        try:
            if session_id not in self._open:
                path = self._directories.layout(session_id).outbound_db
                self._open[session_id] = open_outbound(path)
            else:
                _allow(self._open[session_id], LOOK_CPU_S)
            yield self._open[session_id]
        except apsw.BusyError:
            raise  # the connection is fine; the caller looks again
        except (apsw.ReadOnlyError, apsw.CantOpenError) as error:
            self.release(session_id)
            raise NeedsItsRunner(str(error)) from error
        except Exception:  # any other trouble: open afresh next time, the file may have been replaced
            self.release(session_id)
            raise


def open_outbound(path: Path, *, cpu_s: float = LOOK_CPU_S) -> apsw.Connection:
    """Open an outbound.db for reading; what makes the host work longer is interrupted. Raises as `open_readable`."""
    db = session_files.open_readable(
        path, busy_timeout_ms=BUSY_TIMEOUT_MS, prepare=lambda opened: _allow(opened, cpu_s)
    )
    db.limit(apsw.SQLITE_LIMIT_LENGTH, ROW_BYTES_AT_MOST)
    return db


def _allow(db: apsw.Connection, cpu_s: float) -> None:
    """Let a connection use so much of this thread's time from now on. Waiting and a busy machine do not count."""
    until = time.thread_time() + cpu_s
    db.set_progress_handler(lambda: time.thread_time() > until, _STEPS_BETWEEN)


@contextmanager
def _directory(name: str | Path, inside: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, _DIRECTORY, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(folder: int, names: Sequence[object], limit: int) -> list[OutboundFile]:
    found: list[OutboundFile] = []
    for name in names:
        found.append(_read(folder, name, limit))
        limit -= len(found[-1].content)
    return found


def _read(folder: int, name: object, limit: int) -> OutboundFile:
    if not isinstance(name, str) or not is_safe_name(name):
        raise OutboxRefused(f"{name!r} is no safe file name")
    try:
        descriptor = open_regular_file(folder, name)
    except OSError as error:
        if is_exhausted(error):
            raise
        raise OutboxRefused(f"the file {name!r} cannot be opened: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OutboxRefused(f"{name!r} makes the message larger than {limit} bytes")
    return OutboundFile(name=name, content=content)
