"""Writes to inbound.db.

Messages that arrive together share one commit; a message is accepted once committed (I3).

The sandbox may read the file, so it can also hold a read lock on it. A write therefore never waits inside SQLite: the
event loop retries a locked file, and after a time limit the write fails with the reason.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import apsw
from attrs import frozen
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.exhaustion import explain_cannot_open, original_error
from nanoclaw_wire.inbound import NewInbound, Routing, Status

from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import SessionDirectories

MAX_OPEN = 256  # connections of the last written sessions; each needs one or two of the usual 1 024 descriptors
RETRY_S = 0.02


@frozen
class Addresses:
    """The address of a session's conversation, and the destinations that the session may write to."""

    routing: Routing
    destinations: Sequence[inbound.Destination] = ()


@frozen
class _PendingWrite:
    messages: Sequence[NewInbound]
    addresses: Addresses | None
    stored: asyncio.Future[list[int]]
    since: float


class InboxWriter:
    """All inbound.db files of a host.

    The files of the last written sessions stay open.

    Args:
        directories: The directories of the sessions.
        lock_timeout_s: Seconds after which a write to a locked file fails.
    """

    def __init__(self, directories: SessionDirectories, *, lock_timeout_s: float) -> None:
        self._directories, self._lock_timeout_s = directories, lock_timeout_s
        self._open: OrderedDict[SessionId, apsw.Connection] = OrderedDict()
        self._written: dict[SessionId, Addresses] = {}
        self._waiting: dict[SessionId, list[_PendingWrite]] = {}

    def append(
        self, session_id: SessionId, messages: Sequence[NewInbound], addresses: Addresses | None = None
    ) -> asyncio.Future[list[int]]:
        """Store messages in the next commit; await their sequence numbers, then they are durable.

        The addresses are written in the same commit if they changed.

        Returns:
            A future. It raises NanoclawError if the file cannot be written; then none of the messages was stored.
        """
        loop = asyncio.get_running_loop()
        pending = _PendingWrite(messages, addresses, loop.create_future(), loop.time())
        if session_id not in self._waiting:
            self._waiting[session_id] = []
            loop.call_soon(self._flush, session_id)
        self._waiting[session_id].append(pending)
        return pending.stored

    def is_writing(self, session_id: SessionId) -> bool:
        """Return True if messages for a session wait for their commit."""
        return session_id in self._waiting

    def read(self, session_id: SessionId) -> apsw.Connection:
        """Return the session's connection; other components only read with it."""
        db = self._open.get(session_id)
        if db is None:
            db = session_files.open_writable(self._directories.layout(session_id).inbound_db)
            db.set_busy_timeout(0)
            self._open[session_id] = db
            if len(self._open) > MAX_OPEN:
                self.release(next(iter(self._open)))
        else:
            self._open.move_to_end(session_id)
        return db

    def routing(self, session_id: SessionId) -> Routing:
        """Return the address of the session's own conversation."""
        written = self._written.get(session_id)
        return written.routing if written is not None else inbound.routing(self.read(session_id))

    async def set_status(self, session_id: SessionId, changes: Iterable[tuple[str, Status]]) -> None:
        """Set the status of messages by id."""
        await self._unlocked(session_id, lambda db: inbound.set_status(db, list(changes)))

    async def postpone(self, session_id: SessionId, message_id: str, *, tries: int, process_after: str) -> None:
        """Record one more failed try and the time of the next one."""
        await self._unlocked(
            session_id, lambda db: inbound.postpone(db, message_id, tries=tries, process_after=process_after)
        )

    def release(self, session_id: SessionId) -> None:
        """Close the session's file; the next use opens it again."""
        self._written.pop(session_id, None)
        db = self._open.pop(session_id, None)
        if db is not None:
            db.close()

    def close(self) -> None:
        """Close all files.

        Fail the pending writes, so that no caller believes its message stored.
        """
        for session_id, queue in list(self._waiting.items()):
            _fail(queue, NanoclawError(f"the host stopped before the message of {session_id} was stored"))
        self._waiting.clear()
        for session_id in list(self._open):
            self.release(session_id)

    def _flush(self, session_id: SessionId) -> None:
        queue = self._waiting.get(session_id)
        if queue is None:
            return
        loop = asyncio.get_running_loop()
        try:
            numbers = self._write(session_id, queue)
        except apsw.BusyError:
            in_time = [pending for pending in queue if loop.time() - pending.since < self._lock_timeout_s]
            _fail(
                [pending for pending in queue if pending not in in_time],
                NanoclawError(f"inbound.db of {session_id} stayed locked for {self._lock_timeout_s} s"),
            )
            if in_time:
                self._waiting[session_id] = in_time
                loop.call_later(RETRY_S, self._flush, session_id)
            else:
                del self._waiting[session_id]
            return
        except Exception as error:  # every waiting caller must receive any error of SQLite or the disk
            del self._waiting[session_id]
            self.release(session_id)
            _fail(queue, NanoclawError(f"inbound.db of {session_id} cannot be written: {original_error(error)}"))
            return
        del self._waiting[session_id]
        for pending in queue:
            own, numbers = numbers[: len(pending.messages)], numbers[len(pending.messages) :]
            if not pending.stored.done():
                pending.stored.set_result(own)

    def _write(self, session_id: SessionId, queue: Sequence[_PendingWrite]) -> list[int]:
        db = self.read(session_id)
        addresses = _joined([pending.addresses for pending in queue if pending.addresses])
        with db:
            if addresses is not None and addresses != self._written.get(session_id):
                inbound.set_routing(db, addresses.routing)
                inbound.set_destinations(db, addresses.destinations)
            numbers = inbound.append(db, [message for pending in queue for message in pending.messages])
        if addresses is not None:
            self._written[session_id] = addresses
        return numbers

    async def _unlocked(self, session_id: SessionId, write: Callable[[apsw.Connection], None]) -> None:
        deadline = asyncio.get_running_loop().time() + self._lock_timeout_s
        while True:
            try:
                with explain_cannot_open(self._directories.layout(session_id).incoming):
                    return write(self.read(session_id))
            except apsw.BusyError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_S)


def _joined(given: Sequence[Addresses]) -> Addresses | None:
    """Return the addresses for messages that share a commit: the last routing, and all destinations.

    A name means one target for ever (I15), so the lists never contradict each other.
    """
    joined = given[0] if given else None
    for addresses in given[1:]:
        destinations = addresses.destinations
        if joined is not None and joined.destinations != destinations:
            destinations = tuple({added.name: added for added in (*joined.destinations, *destinations)}.values())
        joined = Addresses(addresses.routing, destinations)
    return joined


def _fail(queue: Iterable[_PendingWrite], error: NanoclawError) -> None:
    for pending in queue:
        if not pending.stored.done():
            pending.stored.set_exception(error)
