"""Writes to inbound.db.

Messages that arrive together share one commit; a message is accepted once committed (I3).

The sandbox may read the file, so it can also hold a read lock on it (see `ContendedWriters`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import apsw
from attrs import frozen
from nanoclaw_untrusted.contended_databases import ContendedWriters
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.exhaustion import explain_cannot_open
from nanoclaw_wire.inbound import NewInbound, Routing, Status

from nanoclaw_core.ids import SessionId
from nanoclaw_core.mailbox.directories import SessionDirectories


@frozen
class Addresses:
    """The address of a session's conversation, and the destinations that the session may write to."""

    routing: Routing
    destinations: Sequence[inbound.Destination] = ()


@frozen
class _Append:
    messages: Sequence[NewInbound]
    addresses: Addresses | None


class InboxWriter:
    """All inbound.db files of a host.

    The files of the last written sessions stay open.

    Args:
        directories: The directories of the sessions.
        lock_timeout_s: Seconds after which a write to a locked file fails.
    """

    def __init__(self, directories: SessionDirectories, *, lock_timeout_s: float) -> None:
        self._directories = directories
        self._written: dict[SessionId, Addresses] = {}
        self._files = ContendedWriters[SessionId, _Append, list[int]](
            lambda session_id: session_files.open_writable(directories.layout(session_id).inbound_db),
            self._write,
            released=lambda session_id: self._written.pop(session_id, None),
            name="inbound.db of {}",
            lock_timeout_s=lock_timeout_s,
        )

    def append(
        self, session_id: SessionId, messages: Sequence[NewInbound], addresses: Addresses | None = None
    ) -> asyncio.Future[list[int]]:
        """Store messages in the next commit; await their sequence numbers, then they are durable.

        The addresses are written in the same commit if they changed.

        Returns:
            A future. It raises NanoclawError if the file cannot be written; then none of the messages was stored.
        """
        return self._files.append(session_id, _Append(messages, addresses))

    def is_writing(self, session_id: SessionId) -> bool:
        """Return True if messages for a session wait for their commit."""
        return self._files.is_writing(session_id)

    def read(self, session_id: SessionId) -> apsw.Connection:
        """Return the session's connection; other components only read with it."""
        return self._files.connection(session_id)

    def routing(self, session_id: SessionId) -> Routing:
        """Return the address of the session's own conversation."""
        written = self._written.get(session_id)
        return written.routing if written is not None else inbound.routing(self.read(session_id))

    async def set_status(self, session_id: SessionId, changes: Iterable[tuple[str, Status]]) -> None:
        """Set the status of messages by id."""
        await self._run(session_id, lambda db: inbound.set_status(db, list(changes)))

    async def postpone(self, session_id: SessionId, message_id: str, *, tries: int, process_after: str) -> None:
        """Record one more failed try and the time of the next one."""
        await self._run(
            session_id, lambda db: inbound.postpone(db, message_id, tries=tries, process_after=process_after)
        )

    def release(self, session_id: SessionId) -> None:
        """Close the session's file; the next use opens it again."""
        self._files.release(session_id)

    def close(self) -> None:
        """Close all files.

        Fail the pending writes, so that no caller believes its message stored.
        """
        self._files.close()

    def _write(self, session_id: SessionId, appends: Sequence[_Append]) -> list[list[int]]:
        db = self.read(session_id)
        addresses = _joined([append.addresses for append in appends if append.addresses])
        with db:
            if addresses is not None and addresses != self._written.get(session_id):
                inbound.set_routing(db, addresses.routing)
                inbound.set_destinations(db, addresses.destinations)
            numbers = iter(inbound.append(db, [message for append in appends for message in append.messages]))
        if addresses is not None:
            self._written[session_id] = addresses
        return [list(islice(numbers, len(append.messages))) for append in appends]

    async def _run(self, session_id: SessionId, write: Callable[[apsw.Connection], None]) -> None:
        with explain_cannot_open(self._directories.layout(session_id).incoming):
            await self._files.run(session_id, write)


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
