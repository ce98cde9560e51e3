"""Reads inbound.db, and claims and settles its rows in outbound.db.

Only the host writes inbound.db (I1). The host copies the acknowledgement of a settled row back later. Until then the
inbox keeps the row's number and hides the row; it forgets the number when the row is no longer pending.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import apsw
from nanoclaw_wire import clock, inbound, session_files
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.inbound import Destination, InboundMessage, Kind, Routing, Status

from nanoclaw_runner import content
from nanoclaw_runner.batch import Batch
from nanoclaw_runner.content import InboxRow, SlashCommand
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.pending_prompts import Prompt

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

WINDOW = 256  # rows per read; context beyond it before a triggering message is skipped
FORGET_AT = 64  # with this many numbers the inbox first drops those of rows that the host has settled
MAX_ANSWERS = 64  # open requests; no model runs that many tools at once


class Inbox:
    """The runner's view of its inbound.db.

    Every method that reads raises `apsw.Error` or `OSError` if the machine is exhausted (see `is_exhausted`). If the
    file cannot be read for another reason, the inbox logs it once and answers with an empty or the last known value:
    a killed host left the file in the middle of a write, and the next host repairs it.

    Args:
        max_context: How many context rows one prompt can take.
    """

    def __init__(self, path: Path, outbox: Outbox, *, max_context: int) -> None:
        self._path, self._outbox, self._max_context = path, outbox, max_context
        self._db: apsw.Connection | None = None
        self._handled: set[int] = set()
        self._skipped: dict[int, InboxRow] = {}  # context that is too old for a prompt, by number
        self._forget_at = FORGET_AT
        self._first_highest: int | None = None
        self._answers: dict[str, asyncio.Future[InboxRow]] = {}
        self._destinations: list[Destination] = []
        self.is_failing = False  # True while the file cannot be read
        self.is_complete = True  # False if the last poll read only the oldest of many rows

    def poll(self, *, reopen: bool) -> list[InboxRow]:
        """Return the rows that a batch may take, oldest first; pass answers to the tools that wait for them.

        Args:
            reopen: True opens the file again. Pass it while the doorbell is not connected: page caches may not cross
                such a mount either.
        """
        if reopen:
            self.close()
        return self._ask(self._read, [])

    def claim(self, batch: Batch) -> Prompt:
        """Claim a batch of the last poll in outbound.db, and return its prompt with the destinations of that poll.

        The prompt also settles skipped context, unless it is a raw command.
        """
        is_raw = batch.command is SlashCommand.RAW
        omitted = () if is_raw else (*self._skipped.values(), *batch.omitted)
        self.mark_handled((*omitted, *batch.rows))
        prompt = Prompt(rows=batch.rows, omitted=omitted, is_raw=is_raw, destinations=tuple(self._destinations))
        self._outbox.claim(prompt.message_ids)
        return prompt

    def mark_handled(self, rows: Iterable[InboundMessage]) -> None:
        """Omit rows from later polls."""
        for row in rows:
            self._handled.add(row.seq)
            self._skipped.pop(row.seq, None)

    def release(self, rows: Iterable[InboundMessage]) -> None:
        """Return rows in the next poll again."""
        self._handled.difference_update(row.seq for row in rows)

    def expect_answer(self, request_id: str) -> asyncio.Future[InboxRow]:
        """Return a future for the host's answer. Call it before you write the request.

        The future is kept until `forget_answer` or until `MAX_ANSWERS` later requests, because a tool need not wait for
        its answer.
        """
        while len(self._answers) >= MAX_ANSWERS:
            self.forget_answer(next(iter(self._answers)))
        future: asyncio.Future[InboxRow] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = future
        return future

    def answer_to(self, request_id: str) -> asyncio.Future[InboxRow] | None:
        """Return the future of a request's answer, or None if there is no such request."""
        return self._answers.get(request_id)

    def forget_answer(self, request_id: str) -> None:
        """Stop waiting for an answer, and acknowledge it if it is there; `poll` acknowledges a later one (⚠28)."""
        waiting = self._answers.pop(request_id, None)
        if waiting is not None and waiting.done() and not waiting.cancelled():
            self._settle(waiting.result())

    def destinations(self) -> list[Destination]:
        """Return the current destinations, or those of the last successful read."""
        self._destinations = self._ask(inbound.destinations, self._destinations)
        return self._destinations

    def routing(self) -> Routing:
        """Return the address of the session's own conversation."""
        return self._ask(inbound.routing, Routing())

    def by_seq(self, seq: int) -> InboundMessage | None:
        """Return the row with a number, or None."""
        return self._ask(lambda db: inbound.by_seq(db, seq), None)

    def latest_from(self, channel: str, room: str) -> InboundMessage | None:
        """Return the most recent row from a room, or None."""
        return self._ask(lambda db: inbound.latest_from(db, channel, room), None)

    def highest(self) -> int | None:
        """Return the highest number in the file, or None if it is empty."""
        return self._ask(inbound.highest, None)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _ask(self, read: Callable[[apsw.Connection], Answer], otherwise: Answer) -> Answer:
        try:
            if self._db is None:
                self._db = session_files.open_readable(self._path)
            answer = read(self._db)
        except (apsw.Error, OSError, session_files.NotARegularFile) as error:
            # A file that waits for its repair is read-only, and a damaged one may answer with an I/O error.
            if is_exhausted(error) and not isinstance(error, apsw.ReadOnlyError | apsw.IOError):
                raise
            if not self.is_failing:
                log.warning("inbound.db cannot be read", extra={"reason": str(error)})
            self.is_failing = True
            self.close()
            return otherwise
        self.is_failing = False
        return answer

    def _read(self, db: apsw.Connection) -> list[InboxRow]:
        if self._first_highest is None:
            self._first_highest = inbound.highest(db) or 0
        if len(self._handled) >= self._forget_at:
            self._forget_settled(db)
        while True:
            rows = self._read_window(db, self._first_highest)
            if self.is_complete or any(row.trigger for row in rows):
                return rows
            # No row of a whole window triggers: hide the oldest, so that the read reaches further (⚠7).
            self._skipped |= {row.seq: row for row in rows[: max(0, len(rows) - self._max_context)]}

    def _read_window(self, db: apsw.Connection, first_highest: int) -> list[InboxRow]:
        """Read the oldest rows that are not handled; return those for the model. The others are not read again.

        `first_highest` is the highest number in the file at the first poll. A former runner, which can write no more
        since then, has settled no later row.
        """
        hidden = self._handled | self._skipped.keys() if self._skipped else self._handled
        window = inbound.pending(db, now=clock.now_text(), fresh=True, without=hidden, limit=WINDOW)
        self.is_complete = len(window) < WINDOW
        if window:
            self._destinations = inbound.destinations(db)
        rows: list[InboxRow] = []
        for row in window:
            if row.on_wake and row.seq > first_highest:
                self._handled.add(row.seq)  # written after the first poll, so it is for the next runner (I5)
            elif row.seq <= first_highest and self._outbox.is_settled(row.id):
                self._handled.add(row.seq)  # settled by a former runner; the host has not copied that yet
            elif row.kind is Kind.SYSTEM:
                self._resolve_answer(row)
            elif (parsed := content.parse(row)) is None:
                log.error("inbound row is not a JSON object", extra={"row": row.id})
                self._settle(row, failed=True)
            else:
                rows.append(parsed)
        return rows

    def _resolve_answer(self, row: InboundMessage) -> None:
        parsed = content.parse(row)
        request_id = content.as_text(parsed.values.get("request_id")) if parsed is not None else ""
        waiting = self._answers.get(request_id)
        self._handled.add(row.seq)
        if parsed is None or waiting is None or waiting.done():
            log.info("unexpected answer acknowledged", extra={"row": row.id, "request_id": request_id})
            self._settle(row)
        else:
            waiting.set_result(parsed)

    def _settle(self, row: InboundMessage, *, failed: bool = False) -> None:
        self._handled.add(row.seq)
        self._outbox.settle([row.id], failed=failed)

    def _forget_settled(self, db: apsw.Connection) -> None:
        self._handled = {seq for seq in self._handled if _is_pending(inbound.by_seq(db, seq))}
        self._forget_at = max(FORGET_AT, 2 * len(self._handled))


def _is_pending(row: InboundMessage | None) -> bool:
    return row is not None and row.status in (Status.PENDING, Status.PAUSED)
