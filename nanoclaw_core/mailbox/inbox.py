"""Writes to inbound.db.

Messages that arrive together share one commit; a message is accepted once committed (I3).

The sandbox may read the file, so it can also hold a read lock on it. A write therefore never waits inside SQLite: the
event loop retries a locked file, and after `LOCK_TIMEOUT_S` the write fails with the reason.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import apsw
from attrs import frozen
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.exhaustion import explain_cannot_open
from nanoclaw_wire.inbound import InboundMessage, NewInbound, Routing, Status

from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import SessionDirectories

MAX_OPEN = 256  # connections of the last written sessions; each needs one or two of the usual 1 024 descriptors
LOCK_TIMEOUT_S = 5.0
RETRY_S = 0.02


@frozen
class Addresses:
    """The address of a session's conversation, and the destinations that the session may write to."""

    routing: Routing
    destinations: Sequence[inbound.Destination] = ()


@frozen
class _PendingWrite:
    message: NewInbound
    addresses: Addresses | None
    stored: asyncio.Future[int]
    since: float


class InboxWriter:
    """All inbound.db files of a host.

    The files of the last written sessions stay open.
    """

    def __init__(self, directories: SessionDirectories) -> None:
        self._directories = directories
        self._open: OrderedDict[SessionId, apsw.Connection] = OrderedDict()
        self._written: dict[SessionId, Addresses] = {}
        self._waiting: dict[SessionId, list[_PendingWrite]] = {}

    async def append(
        self, session_id: SessionId, messages: Sequence[NewInbound], addresses: Addresses | None = None
    ) -> list[int]:
        """Store messages durably and return their sequence numbers.

        The addresses are written in the same commit if they changed.

        Raises:
            NanoclawError: The file cannot be written; none of these messages was stored.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        batch = [_PendingWrite(message, addresses, loop.create_future(), now) for message in messages]
        queue = self._waiting.get(session_id)
        if queue is None:
            queue = self._waiting[session_id] = []
            loop.call_soon(self._flush, session_id)
        queue.extend(batch)
        return [await pending.stored for pending in batch]

    def read(self, session_id: SessionId) -> apsw.Connection:
        """Return the session's connection for reading."""
        return self._connection(session_id)

    def by_seq(self, session_id: SessionId, seq: int) -> InboundMessage | None:
        """Return a message by its sequence number, or None."""
        return inbound.by_seq(self._connection(session_id), seq)

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
            in_time = [pending for pending in queue if loop.time() - pending.since < LOCK_TIMEOUT_S]
            _fail(
                [pending for pending in queue if pending not in in_time],
                NanoclawError(f"inbound.db of {session_id} stayed locked for {LOCK_TIMEOUT_S} s"),
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
            _fail(queue, NanoclawError(f"inbound.db of {session_id} cannot be written: {error}"))
            return
        del self._waiting[session_id]
        for pending, number in zip(queue, numbers, strict=True):
            if not pending.stored.done():
                pending.stored.set_result(number)

    def _write(self, session_id: SessionId, queue: Sequence[_PendingWrite]) -> list[int]:
        db = self._connection(session_id)
        addresses = _joined([pending.addresses for pending in queue if pending.addresses])
        with db:
            if addresses is not None and addresses != self._written.get(session_id):
                inbound.set_routing(db, addresses.routing)
                inbound.set_destinations(db, addresses.destinations)
            numbers = inbound.append(db, [pending.message for pending in queue])
        if addresses is not None:
            self._written[session_id] = addresses
        return numbers

    async def _unlocked(self, session_id: SessionId, write: Callable[[apsw.Connection], None]) -> None:
        deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT_S
        while True:
            try:
                with explain_cannot_open(self._directories.layout(session_id).incoming):
                    return write(self._connection(session_id))
            except apsw.BusyError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_S)

    def _connection(self, session_id: SessionId) -> apsw.Connection:
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


def _joined(given: Sequence[Addresses]) -> Addresses | None:
    """Return the addresses for messages that share a commit: the last routing, and all destinations.

    A name means one target for ever (I15), so the lists never contradict each other.
    """
    lists = {id(addresses.destinations): addresses.destinations for addresses in given}
    if len(lists) < 2:
        return given[-1] if given else None
    named = {destination.name: destination for destinations in lists.values() for destination in destinations}
    return Addresses(given[-1].routing, tuple(named.values()))


def _fail(queue: Iterable[_PendingWrite], error: NanoclawError) -> None:
    for pending in queue:
        if not pending.stored.done():
            pending.stored.set_exception(error)
