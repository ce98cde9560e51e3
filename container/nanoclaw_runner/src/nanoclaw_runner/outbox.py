"""Writes outbound.db as its only writer (I1), and rings the host after each commit.

Each write also stores the runner's activity if it changed, so that the host can tell a long tool from a stuck runner.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import apsw
from attrs import evolve, frozen
from nanoclaw_wire import clock, outbound, session_files
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.outbound import AckStatus, Activity, NewOutbound, OutboundMessage, RunnerState


@frozen(kw_only=True)
class RunningTool:
    """A tool that has started and not ended."""

    name: str
    timeout_s: float | None
    started_at: str


class Outbox:
    """The runner's own database. Each method is one transaction; an error of SQLite leaves nothing behind.

    Every write except `acquire` raises `nanoclaw_wire.outbound.Superseded` if another runner has acquired the file
    since. That ends the process; the other runner repeats its turn.

    Args:
        bell: Rings the host after each commit.

    Raises:
        nanoclaw_wire.session_files.WrongProtocol: The file is of another version.
        apsw.Error: The file is missing or damaged.
    """

    def __init__(self, path: Path, bell: DoorbellClient) -> None:
        self._db: apsw.Connection = session_files.open_writable(path)
        self._bell = bell
        self._runner = secrets.token_hex(8)
        self._activity = Activity.IDLE
        self._tools: list[RunningTool] = []
        self._written: RunnerState | None = None

    def acquire(self) -> int:
        """Make this runner the file's writer, and return the number of claims of former runners that it released.

        The released messages are pending again. A former runner that still runs can write no more.
        """
        return outbound.acquire(self._db, runner=self._runner, now=clock.now_text())

    def claim(self, message_ids: Iterable[str]) -> None:
        """Mark messages as being processed, and the runner as busy."""
        self._activity = Activity.BUSY
        self._write((), [(message_id, AckStatus.PROCESSING) for message_id in message_ids], None)

    def settle(
        self,
        message_ids: Iterable[str],
        *,
        messages: Sequence[NewOutbound] = (),
        highest_inbound: int | None = None,
        failed: bool = False,
    ) -> list[int]:
        """Store replies and mark messages as done, in one transaction; return the numbers of the replies."""
        status = AckStatus.FAILED if failed else AckStatus.COMPLETED
        return self._write(messages, [(message_id, status) for message_id in message_ids], highest_inbound)

    def send(self, message: NewOutbound, *, highest_inbound: int | None) -> int:
        """Store one message and return its number."""
        return self._write([message], (), highest_inbound)[0]

    def turn_ended(self, *, is_busy: bool) -> None:
        """Forget the tools of a turn that ended. The next write stores the activity.

        Args:
            is_busy: True if messages still wait for an answer.
        """
        self._activity = Activity.BUSY if is_busy else Activity.IDLE
        self._tools.clear()

    def tool_started(self, name: str, timeout_s: float | None) -> None:
        """Store that a tool runs; several may run at the same time.

        The call may take `timeout_s` seconds; None if the provider does not know it.
        """
        self._tools.append(RunningTool(name=name, timeout_s=timeout_s, started_at=clock.now_text()))
        self.write_activity()

    def tool_ended(self, name: str) -> None:
        """Store that the tool of this name that started first has ended."""
        ended = next((tool for tool in self._tools if tool.name == name), None)
        if ended is not None:
            self._tools.remove(ended)
        self.write_activity()

    @property
    def tool_timeout_s(self) -> float:
        """The longest timeout of the running tools, in seconds; 0.0 if no tool runs or none has a timeout."""
        return max((tool.timeout_s or 0.0 for tool in self._tools), default=0.0)

    def write_activity(self) -> None:
        """Store the runner's activity if it changed."""
        state = self._changed_state(clock.now_text())
        if state is not None:
            with outbound.immediate(self._db, self._runner):
                outbound.set_runner_state(self._db, state)
            self._bell.ring()

    def is_settled(self, message_id: str) -> bool:
        """Return True if this runner or a former one completed the message or failed it."""
        return bool(outbound.settled(self._db, (message_id,)))

    def by_seq(self, seq: int) -> OutboundMessage | None:
        """Return the outbound message with a number, or None."""
        messages = outbound.messages_after(self._db, seq - 1, limit=1)
        return messages[0] if messages and messages[0].seq == seq else None

    def get_state(self, key: str) -> str | None:
        """Return a value that this runner or a former one stored; None if there is none."""
        return outbound.state(self._db, key)

    def set_state(self, key: str, value: str | None) -> None:
        """Store a value for later runners; None deletes it."""
        with outbound.immediate(self._db, self._runner):
            outbound.set_state(self._db, key, value, clock.now_text())

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _changed_state(self, now: str) -> RunnerState | None:
        """Return the state to write, with the tool of the longest timeout; None if the last write stored the same."""
        tool = max(self._tools, key=lambda running: running.timeout_s or 0.0, default=None)
        state = RunnerState(
            activity=self._activity,
            tool=tool.name if tool else None,
            tool_timeout_s=tool.timeout_s if tool else None,
            tool_started_at=tool.started_at if tool else None,
            updated_at=now,
        )
        if self._written is not None and evolve(state, updated_at=self._written.updated_at) == self._written:
            return None
        self._written = state
        return state

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
            now_state=self._changed_state(now),
            runner=self._runner,
        )
        self._bell.ring()
        return numbers
