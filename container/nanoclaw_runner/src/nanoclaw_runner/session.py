"""What every part of a running session shares."""

from __future__ import annotations

import asyncio

from attrs import evolve, frozen
from nanoclaw_wire import clock
from nanoclaw_wire.config import RunnerConfig
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.events import ErrorClass
from nanoclaw_wire.inbound import InboundMessage

from nanoclaw_runner.activity import ActivityTracker
from nanoclaw_runner.batch import Batch, next_batch
from nanoclaw_runner.commands import Command, command_of, text_of
from nanoclaw_runner.error_messages import words_meanwhile
from nanoclaw_runner.heartbeat import Heartbeat
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.outage_notice import OutageNotice
from nanoclaw_runner.outbound_builder import OutboundBuilder, failure, target_of, words
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.pending_prompts import PendingPrompts, Prompt, new_push_id
from nanoclaw_runner.prompt import PromptContext, write_prompt
from nanoclaw_runner.shortage import Shortage
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_runner.workspace import Workspace


@frozen(kw_only=True)
class Session:
    """One session's files, clock and bell, and what is going on in it.

    Args:
        stopping: Set when the process is to end; nothing new is taken from then on.
    """

    config: RunnerConfig
    workspace: Workspace
    timeouts: Timeouts
    bell: DoorbellClient
    inbox: Inbox
    outbox: Outbox
    activity: ActivityTracker
    pending: PendingPrompts
    outage_notice: OutageNotice
    shortage: Shortage
    outbound: OutboundBuilder
    heartbeat: Heartbeat
    stopping: asyncio.Event

    def next_batch(self, *, raw_commands: bool) -> tuple[Batch | None, list[InboundMessage]]:
        """Look into the inbox; return the next batch, and the `/stop` rows, which wait for nothing."""
        if self.stopping.is_set():
            return None, []
        rows = self.inbox.look()
        stops = [row for row in rows if command_of(row, raw=False) is Command.STOP]
        others = [row for row in rows if row not in stops]
        limit = self.config.max_messages_per_prompt
        return next_batch(others, limit=limit, raw_commands=raw_commands), stops

    def take(self, batch: Batch) -> Prompt:
        """Claim a batch."""
        is_raw = batch.command is Command.RAW
        left_out = () if is_raw else (*self.inbox.passed_over(), *batch.left_out)
        push = Prompt(rows=batch.rows, left_out=left_out, is_raw=is_raw)
        self.activity.set_busy(True)
        self.outbox.claim(push.message_ids)
        self.inbox.take((*left_out, *batch.rows))
        self.heartbeat.touch()
        return push

    def with_names(self, push: Prompt) -> Prompt:
        """Return a push as it is told now: with an id of its own, and the destinations to write its prompt with."""
        return evolve(push, id=new_push_id(), destinations=tuple(self.inbox.destinations()))

    def prompt(self, push: Prompt) -> str:
        """Write what the model is told."""
        if push.is_raw:
            return text_of(push.rows[0])
        around = PromptContext(
            timezone=self.config.timezone,
            incoming=self.workspace.files.incoming,
            destinations=push.destinations,
        )
        return write_prompt(push.rows, around, left_out=len(push.left_out))

    def answer_command(self, row: InboundMessage, text: str) -> None:
        """Answer a command where it came from, and settle it."""
        self.inbox.take([row])
        reply = words(target_of(row), text)
        self.outbox.settle([row.id], messages=[reply], highest_inbound=self.inbox.highest())

    def met_trouble(self, push: Prompt, kind: ErrorClass, *, again_in_s: float = 0.0) -> None:
        """Tell people that no answer came so far and that it is tried again, where this lasts."""
        now = asyncio.get_running_loop().time()
        if self.outage_notice.met(push, now=now, lasts_until=now + again_in_s):
            for message in failure(push.rows, words_meanwhile(kind, push.correlation_id)):
                self.outbox.send(message, highest_inbound=self.inbox.highest())

    def poll_s(self, usual_s: float) -> float:
        """Return how long to wait for a ring at most."""
        is_told = self.bell.connected and not self.inbox.is_failing
        return self.timeouts.bell_poll_s if is_told else usual_s

    def tool_started(self, name: str, timeout_s: float | None) -> None:
        """Say that a tool runs."""
        self.activity.tool_started(name, timeout_s, clock.now_text())
        self.outbox.write_activity()

    def tool_ended(self, name: str) -> None:
        """Say that a tool ended."""
        self.activity.tool_ended(name)
        self.outbox.write_activity()
