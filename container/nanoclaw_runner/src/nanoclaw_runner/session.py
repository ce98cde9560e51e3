"""The state that the parts of a running session share."""

from __future__ import annotations

import asyncio

from attrs import evolve, frozen
from nanoclaw_wire.config import RunnerConfig
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.events import ErrorClass
from nanoclaw_wire.inbound import InboundMessage

from nanoclaw_runner.batch import Choice, next_batch
from nanoclaw_runner.content import InboxRow
from nanoclaw_runner.error_messages import retry_text
from nanoclaw_runner.heartbeat import Heartbeat
from nanoclaw_runner.inbox import Inbox
from nanoclaw_runner.outage_notice import OutageNotice
from nanoclaw_runner.outbound_builder import OutboundBuilder, failure_messages, target_of, text_message
from nanoclaw_runner.outbox import Outbox
from nanoclaw_runner.pending_prompts import PendingPrompts, Prompt, new_push_id
from nanoclaw_runner.prompt import PromptContext
from nanoclaw_runner.shortage import Shortage
from nanoclaw_runner.timeouts import Timeouts


@frozen(kw_only=True)
class SessionState:
    """One session: its files, its doorbell and its unsettled prompts.

    Args:
        stopping: Set when the process must end. No row is claimed after that.
    """

    config: RunnerConfig
    timeouts: Timeouts
    bell: DoorbellClient
    inbox: Inbox
    outbox: Outbox
    pending: PendingPrompts
    prompt_context: PromptContext
    outage_notice: OutageNotice
    shortage: Shortage
    outbound: OutboundBuilder
    heartbeat: Heartbeat
    stopping: asyncio.Event

    def poll(self) -> list[InboxRow]:
        """Return the rows that a batch may take, oldest first. Without a doorbell it opens the file again."""
        return self.inbox.poll(reopen=not self.bell.connected)

    def next_batch(self, *, raw_commands: bool) -> Choice:
        """Poll, and choose the rows to handle next; see `batch.next_batch`."""
        return next_batch(self.poll(), limit=self.config.max_messages_per_prompt, raw_commands=raw_commands)

    def renew(self, prompt: Prompt) -> Prompt:
        """Return a prompt for another push: with a new id and the current destinations."""
        return evolve(prompt, id=new_push_id(), destinations=tuple(self.inbox.destinations()))

    def answer_command(self, row: InboundMessage, text: str) -> None:
        """Reply to a command in its conversation, and settle its row."""
        self.inbox.mark_handled([row])
        reply = text_message(target_of(row), text)
        self.outbox.settle([row.id], messages=[reply], highest_inbound=self.inbox.highest())

    def report_outage(self, prompt: Prompt, kind: ErrorClass, *, retry_in_s: float = 0.0) -> None:
        """Tell people that the answer is late, if the outage lasts long enough."""
        now = asyncio.get_running_loop().time()
        if self.outage_notice.is_due(prompt, now=now, lasts_until=now + retry_in_s):
            for message in failure_messages(prompt.rows, retry_text(kind, prompt.correlation_id)):
                self.outbox.send(message, highest_inbound=self.inbox.highest())

    def poll_s(self, unconnected_s: float) -> float:
        """Return the maximum time to wait for a ring, in seconds."""
        can_hear = self.bell.connected and not self.inbox.is_failing
        return self.timeouts.bell_poll_s if can_hear else unconnected_s
