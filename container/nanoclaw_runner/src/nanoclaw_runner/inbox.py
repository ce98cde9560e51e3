"""Reads inbound.db, and remembers which of its rows this runner has dealt with.

The host alone writes the file (I1), so "dealt with" is an acknowledgement in outbound.db that the host copies back some
time later; until then the number is kept here. Numbers whose rows are no longer pending are forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import apsw
from nanoclaw_wire import clock, inbound, session_files
from nanoclaw_wire.exhaustion import is_exhausted
from nanoclaw_wire.inbound import Destination, InboundMessage, Kind, Routing, Status

from nanoclaw_runner import content
from nanoclaw_runner.outbox import Outbox

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

WINDOW = 256  # rows looked at together; more context than this before a message that triggers is passed over
FORGET_AT = 64  # how many numbers are kept before those that the host has settled are looked for
ANSWERS = 64  # requests under way at most; more than any model has tools running


class Inbox:
    """The runner's view of its inbound.db.

    Args:
        keep_open: Asked before each look. False has the file opened anew: where no bell crosses the mount, page caches
            may not either.
        keep: How many rows of context one prompt can take.
    """

    def __init__(self, path: Path, outbox: Outbox, *, keep_open: Callable[[], bool], keep: int) -> None:
        self._path, self._outbox, self._keep_open, self._keep = path, outbox, keep_open, keep
        self._db: apsw.Connection | None = None
        self._handled: set[int] = set()
        self._passed_over: dict[int, InboundMessage] = {}
        self._forget_at = FORGET_AT
        self._first_highest: int | None = None
        self._answers: dict[str, asyncio.Future[InboundMessage]] = {}
        self._destinations: list[Destination] = []
        self.is_failing = False  # True while the file cannot be read

    def look(self) -> list[InboundMessage]:
        """Return what may be taken, oldest first, after answers went to the tools that wait for them.

        A file that cannot be read now (the host was killed in the middle of a write and will repair it) is logged once
        and counts as empty.

        Raises:
            apsw.Error, OSError: The machine is exhausted (see `is_exhausted`). Every other method raises it, too.
        """
        if not self._keep_open():
            self.close()
        return self._ask(self._read, [])

    def take(self, rows: Iterable[InboundMessage]) -> None:
        """Leave rows out of later looks."""
        for row in rows:
            self._handled.add(row.seq)
            self._passed_over.pop(row.seq, None)

    def give_back(self, rows: Iterable[InboundMessage]) -> None:
        """Show rows again in the next look."""
        self._handled.difference_update(row.seq for row in rows)

    def passed_over(self) -> tuple[InboundMessage, ...]:
        """Return rows of context that are too old to be told, to be settled with the next batch."""
        return tuple(self._passed_over.values())

    def expect_answer(self, request_id: str) -> asyncio.Future[InboundMessage]:
        """Return what will hold the system row that answers a request. Call it before the request is written.

        It is kept until `forget_answer`, or until `ANSWERS` later requests were made: not everybody reads the answer.
        """
        while len(self._answers) >= ANSWERS:
            self.forget_answer(next(iter(self._answers)))
        future: asyncio.Future[InboundMessage] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = future
        return future

    def answer_to(self, request_id: str) -> asyncio.Future[InboundMessage] | None:
        """Return what holds the answer to a request, or None where nothing was asked."""
        return self._answers.get(request_id)

    def forget_answer(self, request_id: str) -> None:
        """Nobody waits any longer: an answer is acknowledged, whether it is there or comes later (⚠28)."""
        waiting = self._answers.pop(request_id, None)
        if waiting is not None and waiting.done() and not waiting.cancelled():
            self._settle(waiting.result())

    def destinations(self) -> list[Destination]:
        """Return the named addresses as they are now, or were when the file could last be read."""
        self._destinations = self._ask(inbound.destinations, self._destinations)
        return self._destinations

    def routing(self) -> Routing:
        """Return where the session's own conversation is."""
        return self._ask(inbound.routing, Routing())

    def by_seq(self, seq: int) -> InboundMessage | None:
        """Return the row with a number."""
        return self._ask(lambda db: inbound.by_seq(db, seq), None)

    def latest_from(self, channel: str, room: str) -> InboundMessage | None:
        """Return the most recent row from a room."""
        return self._ask(lambda db: inbound.latest_from(db, channel, room), None)

    def highest(self) -> int | None:
        """Return the highest number in the file."""
        return self._ask(inbound.highest, None)

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _ask(self, read: Callable[[apsw.Connection], Answer], otherwise: Answer) -> Answer:
        try:
            answer = read(self._open())
        except (apsw.Error, OSError, session_files.NotARegularFile) as error:
            # What waits for a repair is read-only; what is damaged may be an I/O error.
            if is_exhausted(error) and not isinstance(error, apsw.ReadOnlyError | apsw.IOError):
                raise
            if not self.is_failing:
                log.warning("inbound.db cannot be read", extra={"reason": str(error)})
            self.is_failing = True
            self.close()
            return otherwise
        self.is_failing = False
        return answer

    def _read(self, db: apsw.Connection) -> list[InboundMessage]:
        if self._first_highest is None:
            self._first_highest = inbound.highest(db) or 0
        self._forget_settled(db)
        while True:
            window = inbound.pending(db, now=clock.now_text(), fresh=True, without=self._hidden(), limit=WINDOW)
            rows = [row for row in window if self._is_for_the_model(row)]
            self._pass_over(window, rows)
            if len(window) < WINDOW or any(row.trigger for row in rows):
                return rows

    def _hidden(self) -> set[int]:
        return self._handled | self._passed_over.keys() if self._passed_over else self._handled

    def _is_for_the_model(self, row: InboundMessage) -> bool:
        """Sort out what never makes a prompt; what is sorted out is not seen again."""
        if row.on_wake and row.seq > (self._first_highest or 0):
            self._handled.add(row.seq)  # written after our first look: it is for our successor (I5)
        elif self._outbox.is_settled(row.id):
            self._handled.add(row.seq)  # a runner before us settled it, and the host has not noted it yet
        elif row.kind is Kind.SYSTEM:
            self._hand_over(row)
        elif content.read(row.content) is None:
            log.error("inbound row is not a JSON object", extra={"row": row.id})
            self._settle(row, failed=True)
        else:
            return True
        return False

    def _hand_over(self, row: InboundMessage) -> None:
        request_id = content.as_text((content.read(row.content) or {}).get("request_id"))
        waiting = self._answers.get(request_id)
        self._handled.add(row.seq)
        if waiting is None or waiting.done():
            log.info("answer nobody waits for", extra={"row": row.id, "request_id": request_id})
            self._settle(row)
        else:
            waiting.set_result(row)

    def _settle(self, row: InboundMessage, *, failed: bool = False) -> None:
        self._handled.add(row.seq)
        self._outbox.settle([row.id], failed=failed)

    def _pass_over(self, window: list[InboundMessage], rows: list[InboundMessage]) -> None:
        """A whole window of context and nothing that triggers: hide the oldest, so that more comes into view (⚠7)."""
        if len(window) == WINDOW and not any(row.trigger for row in rows):
            excess = rows[: max(0, len(rows) - self._keep)]
            self._passed_over |= {row.seq: row for row in excess}

    def _forget_settled(self, db: apsw.Connection) -> None:
        if len(self._handled) < self._forget_at:
            return
        self._handled = {seq for seq in self._handled if _is_pending(inbound.by_seq(db, seq))}
        self._forget_at = max(FORGET_AT, 2 * len(self._handled))

    def _open(self) -> apsw.Connection:
        if self._db is None:
            self._db = session_files.open_readable(self._path)
        return self._db


def answer_content(row: InboundMessage) -> Mapping[str, Any]:
    """Return what an answer says."""
    return content.read(row.content) or {}


def _is_pending(row: InboundMessage | None) -> bool:
    return row is not None and row.status in (Status.PENDING, Status.PAUSED)
