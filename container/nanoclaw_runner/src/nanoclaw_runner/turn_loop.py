"""The outer loop: waits for a batch, opens a query with it, and recovers from failed turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from attrs import evolve
from nanoclaw_wire.events import Error, ErrorClass
from nanoclaw_wire.exhaustion import is_exhausted

from nanoclaw_runner.batch import Batch
from nanoclaw_runner.content import SlashCommand
from nanoclaw_runner.continuation import Continuation
from nanoclaw_runner.error_messages import failure_text
from nanoclaw_runner.instructions import write_instructions
from nanoclaw_runner.outbound_builder import failure_messages
from nanoclaw_runner.pending_prompts import Prompt
from nanoclaw_runner.prompt import write_prompt
from nanoclaw_runner.provider import Provider
from nanoclaw_runner.query_session import Failure, QuerySession
from nanoclaw_runner.recovery import Recovery, Retry, choose_recovery
from nanoclaw_runner.session import SessionState

log = logging.getLogger(__name__)


class TurnLoop:
    """Serves one session with one provider until the runner must stop or was idle for too long.

    Args:
        fragments: Instructions that plugins add.
    """

    def __init__(self, session: SessionState, provider: Provider, continuation: Continuation, fragments: Sequence[str]):
        self._session, self._provider = session, provider
        self._continuation, self._fragments = continuation, fragments
        self._loop = asyncio.get_running_loop()
        self._is_idle_too_long = False

    async def run(self) -> None:
        """Serve batches one after the other."""
        session = self._session
        while (batch := await self._next_batch()) is not None:
            if batch.command is SlashCommand.CLEAR:
                self._continuation.forget()
                session.answer_command(batch.rows[0], "Session cleared.")
                log.info("session cleared")
                continue
            prompt: Prompt | None = session.inbox.claim(batch)
            session.heartbeat.touch()
            while prompt is not None and not session.stopping.is_set():
                is_resumed = self._continuation.value is not None
                failure = await self._run_query(prompt)
                if failure is None or session.stopping.is_set():
                    break
                prompt = await self._recover(failure, is_resumed=is_resumed)

    async def _next_batch(self) -> Batch | None:
        """Wait for a batch; return None when the runner must leave."""
        session, idle_stop_s = self._session, self._session.config.idle_stop_s
        since = self._loop.time()
        while not (session.stopping.is_set() or self._is_idle_too_long):
            choice = session.next_batch(raw_commands=self._provider.has_slash_commands)
            for row in choice.stops:
                session.answer_command(row, "Nothing is running.")
            if choice.batch is not None:
                return choice.batch
            wait_s = session.poll_s(session.timeouts.idle_poll_s)
            if idle_stop_s is not None:
                wait_s = min(wait_s, since + idle_stop_s - self._loop.time())
            if wait_s <= 0:
                return None
            await session.bell.wait(wait_s)
        return None

    async def _run_query(self, prompt: Prompt) -> Failure | None:
        """Open a query with its first prompt, and run it to its end."""
        session = self._session
        session.pending.pushed(prompt, self._loop.time())
        try:
            query = await self._provider.query(
                write_prompt(prompt, session.prompt_context),
                push_id=prompt.id,
                continuation=self._continuation.value,
                instructions=write_instructions(session.config, prompt.destinations, self._fragments),
            )
            raw_commands = self._provider.has_slash_commands
            query_session = QuerySession(session, query, self._continuation, raw_commands=raw_commands)
        except Exception as error:  # a provider may raise anything; its turn fails, the runner goes on
            if is_exhausted(error):
                raise
            log.exception("provider could not open a query")
            session.pending.close()
            return Failure(error=Error(message=f"{type(error).__name__}: {error}", retryable=False), prompt=prompt)
        failure = await query_session.run()
        self._is_idle_too_long = query_session.is_idle_too_long
        return failure

    async def _recover(self, failure: Failure, *, is_resumed: bool) -> Prompt | None:
        """Return the prompt to retry; None if there is none, after its rows were settled."""
        prompt, error = failure.prompt, failure.error
        correlation_id = prompt.correlation_id if prompt else None
        detail = {"reason": error.message, "kind": error.kind.value, "retryable": error.retryable}
        log.warning("turn failed", extra=detail | {"correlation": correlation_id})
        if prompt is None:
            return None
        is_stale = is_resumed and not prompt.without_continuation and self._provider.is_stale(error)
        pauses_s = self._session.timeouts.turn_pauses_s
        match choose_recovery(error, failures=prompt.failures, is_stale=is_stale, pauses_s=pauses_s):
            case Recovery.FORGET_CONTINUATION:
                log.warning("conversation cannot be resumed, starting a new one")
                self._continuation.forget()
                return self._session.renew(evolve(prompt, without_continuation=True, is_correction=False))
            case Retry(pause_s=pause_s):
                self._session.report_outage(prompt, error.kind, retry_in_s=pause_s)
                if await self._wait_to_retry(pause_s):
                    return self._session.renew(evolve(prompt, failures=prompt.failures + 1, is_correction=False))
                self._give_up(prompt, kind=None)
            case Recovery.GIVE_UP:
                self._give_up(prompt, kind=error.kind)
        return None

    async def _wait_to_retry(self, pause_s: float) -> bool:
        """Wait before a retry, with a heartbeat; return False if a person says `/stop` meanwhile."""
        session, ends_at = self._session, self._loop.time() + pause_s
        while (left_s := ends_at - self._loop.time()) > 0 and not session.stopping.is_set():
            session.heartbeat.touch()
            stops = [row for row in session.poll() if row.command is SlashCommand.STOP]
            for row in stops:
                session.answer_command(row, "Stopped.")
            if stops:
                return False
            poll_s = min(session.poll_s(session.timeouts.open_poll_s), session.timeouts.heartbeat_s)
            await session.bell.wait(min(left_s, poll_s))
        return True

    def _give_up(self, prompt: Prompt, *, kind: ErrorClass | None) -> None:
        """Settle the rows of a prompt without an answer.

        The rows failed, and people read the text of the error. If a person stopped the turn, `kind` is None and the
        rows are completed.
        """
        session = self._session
        replies = failure_messages(prompt.rows, failure_text(kind, prompt.correlation_id)) if kind is not None else []
        session.outbox.turn_ended(is_busy=False)
        session.outbox.settle(
            prompt.message_ids, messages=replies, highest_inbound=session.inbox.highest(), failed=kind is not None
        )
