"""Writes outbound.db, of which this process is the one writer (I1), and rings the host after each commit."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import apsw
from nanoclaw_wire import clock, outbound, session_files
from nanoclaw_wire.outbound import AckStatus, NewOutbound, OutboundMessage

from nanoclaw_runner.activity import ActivityTracker


class Outbox:
    """The runner's own file. What belongs together is one transaction; every error of SQLite leaves nothing behind.

    Every write but `take_over` raises `nanoclaw_wire.outbound.Superseded` where another runner has taken over since,
    which ends the process: its turn is done again by the other one.

    Args:
        ring: Tells the host to look.
        activity: What the runner does; a change goes out with the next write.

    Raises:
        nanoclaw_wire.session_files.WrongProtocol: The file is of another version.
        apsw.Error: It is missing or damaged.
    """

    def __init__(self, path: Path, *, ring: Callable[[], None], activity: ActivityTracker) -> None:
        self._db: apsw.Connection = session_files.open_writable(path)
        self._ring, self._activity = ring, activity
        self._runner = secrets.token_hex(8)

    def take_over(self) -> int:
        """Make the file ours, and forget what a runner before us was working on; return how many messages that were.

        Those are pending and will be taken again. A runner before us that is still there can write no more.
        """
        return outbound.take_over(self._db, runner=self._runner, now=clock.now_text())

    def claim(self, message_ids: Iterable[str]) -> None:
        """Say that these messages are being worked on."""
        self._write((), [(message_id, AckStatus.PROCESSING) for message_id in message_ids], None)

    def settle(
        self,
        message_ids: Iterable[str],
        *,
        messages: Sequence[NewOutbound] = (),
        highest_inbound: int | None = None,
        failed: bool = False,
    ) -> list[int]:
        """Store replies and say that messages are done, in one transaction; return the replies' numbers."""
        status = AckStatus.FAILED if failed else AckStatus.COMPLETED
        return self._write(messages, [(message_id, status) for message_id in message_ids], highest_inbound)

    def send(self, message: NewOutbound, *, highest_inbound: int | None) -> int:
        """Store one message and return its number."""
        return self._write([message], (), highest_inbound)[0]

    def write_activity(self) -> None:
        """Write what the runner does, where that changed."""
        state = self._activity.change(clock.now_text())
        if state is not None:
            with outbound.immediate(self._db, self._runner):
                outbound.set_runner_state(self._db, state)
            self._ring()

    def is_settled(self, message_id: str) -> bool:
        """Say whether a message was completed or failed, by this runner or one before it."""
        return bool(outbound.settled(self._db, (message_id,)))

    def by_seq(self, seq: int) -> OutboundMessage | None:
        """Return a message of ours by its number."""
        found = outbound.messages_after(self._db, seq - 1, limit=1)
        return found[0] if found and found[0].seq == seq else None

    def recall(self, key: str) -> str | None:
        """Return what was remembered, by this runner or one before it."""
        return outbound.state(self._db, key)

    def remember(self, key: str, value: str | None) -> None:
        """Keep a value for later runners; None forgets it."""
        with outbound.immediate(self._db, self._runner):
            outbound.set_state(self._db, key, value, clock.now_text())

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _write(
        self,
        messages: Sequence[NewOutbound],
        acknowledge: Sequence[tuple[str, AckStatus]],
        highest_inbound: int | None,
    ) -> list[int]:
        now = clock.now_text()
        numbers = outbound.write(
            self._db,
            now=now,
            highest_inbound=highest_inbound,
            messages=messages,
            acknowledge=acknowledge,
            now_state=self._activity.change(now),
            runner=self._runner,
        )
        self._ring()
        return numbers
