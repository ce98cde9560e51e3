"""Runs one open query: pushes incoming messages, and turns the provider's results into outgoing ones."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Sequence

from attrs import asdict, evolve, frozen
from nanoclaw_wire.events import (
    Alive,
    Error,
    ErrorClass,
    Event,
    Init,
    Progress,
    Result,
    ToolEnded,
    ToolStarted,
    Usage,
)
from nanoclaw_wire.exhaustion import Exhausted, is_exhausted
from nanoclaw_wire.outbound import NewOutbound

from nanoclaw_runner.content import InboxRow, clean
from nanoclaw_runner.continuation import Continuation
from nanoclaw_runner.outbound_builder import target_of, text_message
from nanoclaw_runner.pending_prompts import Prompt, merge
from nanoclaw_runner.prompt import write_prompt
from nanoclaw_runner.provider import LiveQuery
from nanoclaw_runner.replies import correction, needs_correction, parse
from nanoclaw_runner.session import SessionState

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Failure:
    """A failed turn, which ends its query.

    Args:
        prompt: The prompts of the turn, merged into one; None if the turn had none.
    """

    error: Error
    prompt: Prompt | None


class QuerySession:
    """One query from its first prompt to its end.

    Args:
        raw_commands: True if the provider has slash commands of its own.

    Attributes:
        is_idle_too_long: True if the query ended because no message came for `idle_stop_s`.
    """

    def __init__(
        self, session: SessionState, query: LiveQuery, continuation: Continuation, *, raw_commands: bool
    ) -> None:
        self._session, self._query, self._continuation = session, query, continuation
        self._raw_commands = raw_commands
        self._events = query.events()
        self._loop = asyncio.get_running_loop()
        self._active_at = self._heard_at = self._loop.time()
        self._is_alive = asyncio.Event()  # set by each event and each push
        self._command_waits = False  # for the end of the turn
        self._is_ending = False
        self._end_settles_doubt = False  # True after SIGTERM: an end without another turn settles prompts in doubt
        self.is_idle_too_long = False

    async def run(self) -> Failure | None:
        """Run until the query ends; return the failure that ended it, None if it ended as intended.

        The query is over and no prompt is pending when this returns. The next poll returns the rows that were not
        settled, except those of the failed turn.
        """
        failure: Failure | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding, watching = tasks.create_task(self._feed()), tasks.create_task(self._watch())
                listening = tasks.create_task(self._listen())
                running_short = tasks.create_task(self._session.shortage.wait())
                await asyncio.wait([listening, watching], return_when=asyncio.FIRST_COMPLETED)
                failure = listening.result() if listening.done() else watching.result()
                for task in (feeding, watching, listening, running_short):
                    task.cancel()
        finally:
            await self._abort()
            if not self._session.stopping.is_set():
                self._release(failure)
        return failure

    async def _feed(self) -> None:
        """Push messages that come in while the query is open."""
        session, pending = self._session, self._session.pending
        idle_stop_s = math.inf if session.config.idle_stop_s is None else session.config.idle_stop_s
        settles_at = math.inf
        while not session.stopping.is_set():
            if self._loop.time() >= settles_at and (doubtful := pending.settle_by_silence(self._loop.time())):
                self._settle(doubtful, [], is_busy=False)
            choice = session.next_batch(raw_commands=self._raw_commands)
            for row in choice.stops:
                await self._stop_turn(row)
            batch = choice.batch
            if batch is not None and batch.command is None:
                prompt = session.inbox.claim(batch)
                session.heartbeat.touch()
                log.info("message pushed", extra={"messages": len(prompt.rows)})
                await self._guarded(self._push(prompt, write_prompt(prompt, session.prompt_context)))
                if choice.has_rest or not session.inbox.is_complete:
                    await asyncio.sleep(0)  # lets answers through, even if many more messages wait
                    continue
            self._command_waits = batch is not None and batch.command is not None
            if self._command_waits and pending.is_settled:
                break  # a command must be the first input, so the outer loop takes this one
            # A turn can end during the wait. So wait no longer than the shortest silence or idle time after its end.
            now = self._loop.time()
            settles_at = pending.settles_earliest_at(now)
            leaves_at = (now if pending.is_open else self._active_at) + idle_stop_s
            self.is_idle_too_long = now >= leaves_at
            if self.is_idle_too_long:
                break
            poll_s = session.poll_s(session.timeouts.open_poll_s)
            await session.bell.wait(max(0.001, min(poll_s, settles_at - now, leaves_at - now)))
        await (self._leave() if session.stopping.is_set() else self._end())

    async def _push(self, prompt: Prompt, prompt_text: str) -> None:
        pending = self._session.pending
        self._active_at = self._loop.time()
        if not pending.is_open:
            self._heard_at = self._active_at  # a turn begins; a push into a running one must not excuse silence
        pending.pushed(prompt, self._active_at)
        self._is_alive.set()
        await self._query.push(prompt_text, prompt.id)

    async def _listen(self) -> Failure | None:
        """Handle the provider's events until the query ends; return the failure that ended it."""
        try:
            failure = await self._handle_events()
        finally:
            if isinstance(self._events, AsyncGenerator):  # the traceback of an error would keep it open
                await self._await_within_limit(self._events.aclose())
        if failure is None and self._end_settles_doubt:
            self._settle(self._session.pending.close(), [], is_busy=False)
        if failure is not None or self._is_ending or self._session.stopping.is_set():
            return failure
        if self._session.pending.is_settled:
            return None
        return self._failure(Error(message="the query ended in the middle of a turn", retryable=True))

    async def _handle_events(self) -> Failure | None:
        while True:
            try:
                event = await anext(self._events)
            except StopAsyncIteration:
                return None
            except Exception as error:  # a provider may raise anything; its turn fails, the runner goes on
                if is_exhausted(error):
                    raise
                log.exception("provider raised")
                return await self._handle(Error(message=f"{type(error).__name__}: {error}", retryable=False))
            failure = await self._handle(event)
            if failure is not None:
                return failure

    async def _handle(self, event: Event) -> Failure | None:
        session = self._session
        if session.stopping.is_set():
            if self._end_settles_doubt and not isinstance(event, Alive | Progress | Usage):
                await self._abort()  # a prompt in doubt gets a turn of its own
            return None  # the text of an aborted turn answers nothing; its rows wait for the next runner
        self._active_at = self._heard_at = self._loop.time()
        self._is_alive.set()
        if isinstance(event, Result):
            await self._end_turn(event)
            return None
        session.pending.heard(event, self._heard_at)
        match event:
            case Init() if event.continuation != self._continuation.value:
                self._continuation.save(event.continuation)
            case Error(kind=ErrorClass.EXHAUSTED):
                raise Exhausted(event.message)
            case Error():
                return self._failure(event)
            case ToolStarted():
                session.outbox.tool_started(event.tool, event.timeout_s)
            case ToolEnded():
                session.outbox.tool_ended(event.tool)
            case Usage():
                log.info("turn used", extra=asdict(event))
            case Progress():
                log.info("provider progress", extra={"progress": event.message})
                if event.error is not None and session.pending.answering:
                    session.report_outage(merge(session.pending.answering), event.error)
        return None

    async def _end_turn(self, result: Result) -> None:
        """Send the blocks of a result and settle its prompts, or ask the model once for a missing block."""
        session = self._session
        turn = session.pending.ended(self._loop.time(), result.answers)
        parsed = parse(clean(result.text or ""), turn.destinations)
        for name in parsed.unknown:
            log.warning("message to an unknown destination dropped", extra={"destination": name})
        if turn.may_be_corrected and needs_correction(
            parsed, has_spoken=turn.has_spoken, has_names=bool(turn.destinations)
        ):
            log.info("turn delivered nothing", extra={"scratchpad_length": len(parsed.scratchpad)})
            prompt = session.renew(evolve(merge(turn.prompts), is_correction=True))
            await self._guarded(self._push(prompt, correction(prompt.destinations)))
            return
        replies = session.outbound.replies(parsed.blocks, turn.rows)
        if turn.raw is not None and not replies:  # a command may print nothing, and people wait for an answer (I13)
            replies = [text_message(target_of(turn.raw.rows[0]), parsed.scratchpad or "Done.")]
        self._settle(turn.prompts, replies, is_busy=turn.others_wait)

    def _settle(self, prompts: Sequence[Prompt], replies: Sequence[NewOutbound], *, is_busy: bool) -> None:
        session = self._session
        message_ids = [message_id for prompt in prompts for message_id in prompt.message_ids]
        correlation_id = prompts[0].correlation_id if prompts else None
        highest = session.inbox.highest() if replies else None
        session.outbox.turn_ended(is_busy=is_busy)
        session.outbox.settle(message_ids, messages=replies, highest_inbound=highest)
        if self._command_waits:
            session.bell.wake()
        counts = {"messages": len(message_ids), "replies": len(replies)}
        log.info("turn ended", extra=counts | {"correlation": correlation_id})

    async def _watch(self) -> Failure:
        """Touch the heartbeat by a timer; fail the turn if the provider is silent for too long.

        The timer runs while a turn is open, and otherwise while the provider shows signs of life.

        The heartbeat proves that the runner's event loop runs, not that the model speaks: a silent model may be
        thinking. It also keeps the host from ending a sandbox if its provider hangs, so the runner must detect that.
        """
        session, timeouts = self._session, self._session.timeouts
        while True:
            if not session.pending.is_open:
                await self._is_alive.wait()
            self._is_alive.clear()
            silent_s = self._loop.time() - self._heard_at if session.pending.is_open else 0.0
            if silent_s >= max(timeouts.provider_silence_s, session.outbox.tool_timeout_s):
                return self._failure(Error(message=f"no event of the provider for {silent_s:.0f} s", retryable=True))
            session.heartbeat.touch()
            await asyncio.sleep(timeouts.heartbeat_s)

    async def _stop_turn(self, row: InboxRow) -> None:
        runs = self._session.pending.is_open
        if runs:
            self._session.pending.interrupted()
            await self._guarded(self._query.interrupt())
        self._session.answer_command(row, "Stopped." if runs else "Nothing is running.")

    async def _end(self) -> None:
        self._is_ending = True
        await self._guarded(self._query.end())

    async def _leave(self) -> None:
        """End the query at SIGTERM.

        No turn of a prompt in doubt has begun yet. If the provider has no work left, it ends without another turn,
        which proves that it answered the prompt. Otherwise the prompt stays pending.
        """
        if self._session.pending.is_in_doubt:
            self._end_settles_doubt = True
            await self._end()
            await asyncio.sleep(self._session.timeouts.end_s)  # cancelled when the events end
        await self._abort()

    async def _abort(self) -> None:
        self._end_settles_doubt = False  # if the events end from now on, that proves nothing
        await self._await_within_limit(self._query.abort())

    async def _await_within_limit(self, call: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._session.timeouts.abort_s):
                await call
        except Exception:  # the query is over in any case; the error is for the log
            log.warning("query did not stop cleanly", exc_info=True)

    async def _guarded(self, call: Awaitable[None]) -> None:
        """Await a call to the provider. If it raises, abort the query; the turn fails when the events end."""
        try:
            await call
        except Exception as error:  # a provider may raise anything, for example if its process died
            if is_exhausted(error):
                raise
            log.exception("provider raised")
            await self._abort()

    def _failure(self, error: Error) -> Failure:
        return Failure(error=error, prompt=self._session.pending.failed(error.answers))

    def _release(self, failure: Failure | None) -> None:
        failed = set(failure.prompt.message_ids) if failure is not None and failure.prompt is not None else set()
        for prompt in self._session.pending.close():
            if failed.isdisjoint(prompt.message_ids):
                self._session.inbox.release((*prompt.rows, *prompt.omitted))
