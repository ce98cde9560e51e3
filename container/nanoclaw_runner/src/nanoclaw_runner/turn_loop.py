"""The outer loop: takes batches, opens a query for each that finds none open, and decides after a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from attrs import evolve
from nanoclaw_wire.events import Error, ErrorClass
from nanoclaw_wire.exhaustion import is_exhausted

from nanoclaw_runner import recovery
from nanoclaw_runner.batch import Batch
from nanoclaw_runner.commands import Command
from nanoclaw_runner.continuation import Continuation
from nanoclaw_runner.error_messages import words_for
from nanoclaw_runner.instructions import write_instructions
from nanoclaw_runner.outbound_builder import failure
from nanoclaw_runner.pending_prompts import Prompt
from nanoclaw_runner.provider import Provider
from nanoclaw_runner.query_session import Failure, QuerySession
from nanoclaw_runner.recovery import Retry, Verdict
from nanoclaw_runner.session import Session

log = logging.getLogger(__name__)


class TurnLoop:
    """Serves one session with one provider until it is told to stop or has idled long enough.

    Args:
        fragments: Instructions that plugins add.
    """

    def __init__(self, session: Session, provider: Provider, continuation: Continuation, fragments: Sequence[str]):
        self._session, self._provider = session, provider
        self._continuation, self._fragments = continuation, fragments
        self._clock = asyncio.get_running_loop()
        self._is_leaving = False

    async def run(self) -> None:
        """Serve."""
        while True:
            batch = await self._next()
            if batch is None:
                return
            if batch.command is Command.CLEAR:
                self._clear(batch)
            else:
                await self._serve(batch)

    async def _next(self) -> Batch | None:
        """Wait for a batch; None where it is time to leave."""
        session, idle_stop_s = self._session, self._session.config.idle_stop_s
        since = self._clock.time()
        while not (session.stopping.is_set() or self._is_leaving):
            batch, stops = session.next_batch(raw_commands=self._provider.has_slash_commands)
            for row in stops:
                session.answer_command(row, "Nothing is running.")
            if batch is not None:
                return batch
            patience_s = session.poll_s(session.timeouts.idle_poll_s)
            if idle_stop_s is not None:
                patience_s = min(patience_s, since + idle_stop_s - self._clock.time())
            if patience_s <= 0:
                return None
            await session.bell.wait(patience_s)
        return None

    def _clear(self, batch: Batch) -> None:
        self._continuation.forget()
        self._session.answer_command(batch.rows[0], "Session cleared.")
        log.info("session cleared")

    async def _serve(self, batch: Batch) -> None:
        """Answer a batch, and whatever is pushed meanwhile; try again what may work later."""
        push: Prompt | None = self._session.take(batch)
        while push is not None and not self._session.stopping.is_set():
            is_resumed = self._continuation.value is not None
            failure = await self._converse(push)
            if failure is None or self._session.stopping.is_set():
                return
            push = await self._recover(failure, is_resumed=is_resumed)

    async def _converse(self, push: Prompt) -> Failure | None:
        """Open a query with a push as its first prompt, and run it to its end."""
        session = self._session
        push = session.with_names(push)
        session.pending.pushed(push, self._clock.time())
        try:
            query = await self._provider.query(
                session.prompt(push),
                push_id=push.id,
                continuation=self._continuation.value,
                instructions=write_instructions(session.config, push.destinations, self._fragments),
            )
        except Exception as error:  # a provider may raise anything; its turn fails, the runner does not
            if is_exhausted(error):
                raise
            log.exception("provider could not open a query")
            session.pending.close()
            return Failure(error=Error(message=f"{type(error).__name__}: {error}", retryable=False), push=push)
        conversation = QuerySession(session, query, self._continuation, raw_commands=self._provider.has_slash_commands)
        failure = await conversation.run()
        self._is_leaving = conversation.is_idle_too_long
        return failure

    async def _recover(self, failure: Failure, *, is_resumed: bool) -> Prompt | None:
        """Return what to try again, or None where nothing is left to try."""
        push, error = failure.push, failure.error
        correlation_id = push.correlation_id if push else None
        detail = {"reason": error.message, "kind": error.kind.value, "retryable": error.retryable}
        log.warning("turn failed", extra=detail | {"correlation_id": correlation_id})
        if push is None:
            return None
        is_stale = is_resumed and not push.is_anew and self._provider.is_stale(error)
        delays_s = self._session.timeouts.retry_delays_s
        match recovery.after(error, failures=push.failures, can_start_anew=is_stale, delays_s=delays_s):
            case Verdict.START_ANEW:
                log.warning("conversation cannot be resumed, starting a new one")
                self._continuation.forget()
                return evolve(push, is_anew=True, is_correction=False)
            case Retry(delay_s=delay_s):
                self._session.met_trouble(push, error.kind, again_in_s=delay_s)
                if await self._wait(delay_s):
                    return evolve(push, failures=push.failures + 1, is_correction=False)
                self._finish(push, kind=None)
            case Verdict.GIVE_UP:
                self._finish(push, kind=error.kind)
        return None

    async def _wait(self, delay_s: float) -> bool:
        """Wait before the next try, with a heartbeat; False where somebody said `/stop` meanwhile."""
        session, ends_at = self._session, self._clock.time() + delay_s
        while (left_s := ends_at - self._clock.time()) > 0 and not session.stopping.is_set():
            session.heartbeat.touch()
            _batch, stops = session.next_batch(raw_commands=False)
            for row in stops:
                session.answer_command(row, "Stopped.")
            if stops:
                return False
            poll_s = min(session.poll_s(session.timeouts.open_poll_s), session.timeouts.heartbeat_s)
            await session.bell.wait(min(left_s, poll_s))
        return True

    def _finish(self, push: Prompt, *, kind: ErrorClass | None) -> None:
        """Settle rows that got no answer: completed where a person stopped them, else failed, and people are told."""
        session = self._session
        replies = failure(push.rows, words_for(kind, push.correlation_id)) if kind is not None else []
        session.activity.set_busy(False)
        session.outbox.settle(
            push.message_ids, messages=replies, highest_inbound=session.inbox.highest(), failed=kind is not None
        )
