"""Writes to SQLite files that another party may lock.

A write never waits inside SQLite, because the other side could then stop the event loop. The loop retries a locked
file, and after a time limit the write fails with the reason. Writes that arrive together share one commit.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import apsw
from attrs import frozen
from nanoclaw_wire.errors import NanoclawError
from nanoclaw_wire.exhaustion import original_error

MAX_OPEN = 256  # connections of the last written files; each needs one or two of the usual 1 024 descriptors
RETRY_S = 0.02
K = TypeVar("K", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


def use_wal(db: apsw.Connection, timeout_s: float) -> None:
    """Switch to the write-ahead log.

    Retry here: SQLite ignores the busy timeout if two connections switch at once.

    Raises:
        apsw.BusyError: Another process locked the file for that time.
    """
    ends_at = time.monotonic() + timeout_s
    while True:
        try:
            db.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if time.monotonic() >= ends_at:
                raise
            time.sleep(0.005)
        else:
            return


@frozen
class _PendingWrite(Generic[Item, Result]):
    item: Item
    stored: asyncio.Future[Result]
    since: float


class ContendedWriters(Generic[K, Item, Result]):
    """Connections to many files, of which the last used ones stay open.

    Args:
        open_file: Opens the file of a key.
        write: Writes the items of a key that arrived together in one transaction, and returns a result for each.
        released: Called when the file of a key is closed.
        name: The name of the files in errors, with `{}` for the key.
        lock_timeout_s: Seconds after which a write to a locked file fails.
    """

    def __init__(
        self,
        open_file: Callable[[K], apsw.Connection],
        write: Callable[[K, Sequence[Item]], Sequence[Result]],
        *,
        released: Callable[[K], object],
        name: str,
        lock_timeout_s: float,
    ) -> None:
        self._open_file, self._write, self._released = open_file, write, released
        self._name, self._lock_timeout_s = name, lock_timeout_s
        self._open: OrderedDict[K, apsw.Connection] = OrderedDict()
        self._waiting: dict[K, list[_PendingWrite[Item, Result]]] = {}

    def append(self, key: K, item: Item) -> asyncio.Future[Result]:
        """Write an item in the next commit; await its result, then it is durable.

        Returns:
            A future. It raises NanoclawError if the file cannot be written; then nothing of the item was stored.
        """
        loop = asyncio.get_running_loop()
        pending = _PendingWrite[Item, Result](item, loop.create_future(), loop.time())
        if key not in self._waiting:
            self._waiting[key] = []
            loop.call_soon(self._flush, key)
        self._waiting[key].append(pending)
        return pending.stored

    def is_writing(self, key: K) -> bool:
        """Return True if items of a key wait for their commit."""
        return key in self._waiting

    def connection(self, key: K) -> apsw.Connection:
        """Return the connection to a file."""
        db = self._open.get(key)
        if db is None:
            db = self._open_file(key)
            db.set_busy_timeout(0)
            self._open[key] = db
            if len(self._open) > MAX_OPEN:
                self.release(next(iter(self._open)))
        else:
            self._open.move_to_end(key)
        return db

    async def run(self, key: K, write: Callable[[apsw.Connection], None]) -> None:
        """Call a function with the connection to a file until the file is not locked.

        Raises:
            apsw.BusyError: The file stayed locked for the time limit.
        """
        deadline = asyncio.get_running_loop().time() + self._lock_timeout_s
        while True:
            try:
                return write(self.connection(key))
            except apsw.BusyError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_S)

    def release(self, key: K) -> None:
        """Close a file; the next use opens it again."""
        self._released(key)
        db = self._open.pop(key, None)
        if db is not None:
            db.close()

    def close(self) -> None:
        """Close all files.

        Fail the pending writes, so that no caller believes its item stored.
        """
        for key, queue in list(self._waiting.items()):
            _fail(queue, NanoclawError(f"the host stopped before the message of {key} was stored"))
        self._waiting.clear()
        for key in list(self._open):
            self.release(key)

    def _flush(self, key: K) -> None:
        queue = self._waiting.get(key)
        if queue is None:
            return
        loop, name = asyncio.get_running_loop(), self._name.format(key)
        try:
            results = self._write(key, [pending.item for pending in queue])
        except apsw.BusyError:
            in_time = [pending for pending in queue if loop.time() - pending.since < self._lock_timeout_s]
            _fail(
                [pending for pending in queue if pending not in in_time],
                NanoclawError(f"{name} stayed locked for {self._lock_timeout_s} s"),
            )
            if in_time:
                self._waiting[key] = in_time
                loop.call_later(RETRY_S, self._flush, key)
            else:
                del self._waiting[key]
            return
        except Exception as error:  # every waiting caller must receive any error of SQLite or the disk
            del self._waiting[key]
            self.release(key)
            _fail(queue, NanoclawError(f"{name} cannot be written: {original_error(error)}"))
            return
        del self._waiting[key]
        for pending, result in zip(queue, results, strict=True):
            if not pending.stored.done():
                pending.stored.set_result(result)


def _fail(queue: Iterable[_PendingWrite[Item, Result]], error: NanoclawError) -> None:
    for pending in queue:
        if not pending.stored.done():
            pending.stored.set_exception(error)
