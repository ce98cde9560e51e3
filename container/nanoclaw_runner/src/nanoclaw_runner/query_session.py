"""One open query: hands it what comes in meanwhile, and turns what it says into messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Sequence

from attrs import asdict, frozen
from nanoclaw_wire.events import (
    Alive,
    Error,
    ErrorClass,
    Event,
    Init,
    Progress,
    Result,
    TookIn,
    ToolEnded,
    ToolStarted,
    Usage,
)
from nanoclaw_wire.exhaustion import Exhausted, is_exhausted
from nanoclaw_wire.inbound import InboundMessage
from nanoclaw_wire.outbound import NewOutbound

from nanoclaw_runner import content
from nanoclaw_runner.batch import Batch
from nanoclaw_runner.continuation import Continuation
from nanoclaw_runner.outbound_builder import target_of, words
from nanoclaw_runner.pending_prompts import Prompt, merge, rows_of
from nanoclaw_runner.provider import LiveQuery
from nanoclaw_runner.replies import Parsed, correction, needs_correction, parse
from nanoclaw_runner.session import Session

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Failure:
    """A turn failed, and the query with it.

    Args:
        push: What the turn was about, merged if it took in several pushes; None if the turn was nobody's.
    """

    error: Error
    push: Prompt | None


class QuerySession:
    """Runs one query from its first prompt to its end.

    Args:
        raw_commands: True where the provider has slash commands of its own.
    """

    def __init__(self, session: Session, query: LiveQuery, continuation: Continuation, *, raw_commands: bool) -> None:
        self._session, self._query, self._continuation = session, query, continuation
        self._raw_commands = raw_commands
        self._is_ending = False
        self._loop = asyncio.get_running_loop()
        self._active_at = self._heard_at = self._loop.time()
        self._stirred = asyncio.Event()  # set by whatever may open a turn
        self._is_leaving = False  # SIGTERM came, and an end of the query without another turn settles what is in doubt
        self.is_idle_too_long = False

    async def run(self) -> Failure | None:
        """Work until the query ends; None where it ended because it should.

        Returns with the query over and the pending closed; rows that were not settled are shown again in the next look,
        those of the failed turn excepted.
        """
        failure: Failure | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                following, watching = tasks.create_task(self._follow()), tasks.create_task(self._watch())
                listening = tasks.create_task(self._listen())
                running_short = tasks.create_task(self._session.shortage.wait())
                await asyncio.wait([listening, watching], return_when=asyncio.FIRST_COMPLETED)
                failure = listening.result() if listening.done() else watching.result()
                for task in (following, watching, listening, running_short):
                    task.cancel()
        finally:
            await self._abort()
            if not self._session.stopping.is_set():
                self._give_back(failure)
        return failure

    async def _listen(self) -> Failure | None:
        async with contextlib.aclosing(self._events()) as events:
            async for event in events:
                self._session.heartbeat.touch()
                failure = await self._handle(event)
                if failure is not None:
                    return failure
        if self._is_leaving:
            self._settle(self._session.pending.close(), [])
        if self._is_ending or self._session.stopping.is_set() or self._session.pending.is_settled:
            return None
        return self._failure(Error(message="the query ended in the middle of a turn", retryable=True))

    async def _watch(self) -> Failure:
        """Beat by a timer while a turn is open; return once the provider has been silent for too long.

        The beat proves that the runner's event loop runs, not that the model speaks: a silent model may be thinking.
        So it would keep the host from ending a sandbox whose provider hangs. Only the runner can know that, and fails
        the turn.
        """
        session, timeouts = self._session, self._session.timeouts
        while True:
            if not self._is_turn_open:
                self._stirred.clear()
                await self._stirred.wait()
                continue
            silent_s = self._loop.time() - self._heard_at
            if silent_s >= max(timeouts.provider_silence_s, session.activity.tool_timeout_s):
                return self._failure(Error(message=f"no event of the provider for {silent_s:.0f} s", retryable=True))
            session.heartbeat.touch()
            await asyncio.sleep(timeouts.heartbeat_s)

    @property
    def _is_turn_open(self) -> bool:
        return self._session.pending.is_running or not self._session.pending.is_settled

    async def _events(self) -> AsyncGenerator[Event, None]:
        try:
            async for event in self._query.events():
                yield event
        except Exception as error:  # a provider may raise anything; its turn fails, the runner does not
            if is_exhausted(error):
                raise
            log.exception("provider raised")
            yield Error(message=f"{type(error).__name__}: {error}", retryable=False)

    async def _handle(self, event: Event) -> Failure | None:
        if self._session.stopping.is_set():
            if self._is_leaving and not isinstance(event, Alive | Progress | Usage):
                await self._abort()  # a push in doubt has a turn of its own
            return None  # whatever an aborted turn still says answers nothing; its rows wait for our successor
        self._active_at = self._heard_at = self._loop.time()
        self._stirred.set()
        begins_turn = isinstance(event, Init | TookIn | ToolStarted | ToolEnded)
        if begins_turn or not isinstance(event, Usage | Progress | Result):
            self._session.pending.heard(self._active_at, begins_turn=begins_turn)
        match event:
            case Init():
                self._continuation.keep(event.continuation)
            case TookIn():
                self._session.pending.took_in(event.pushes)
            case Result():
                await self._end_turn(event)
            case Error(kind=ErrorClass.EXHAUSTED):
                raise Exhausted(event.message)
            case Error():
                return self._failure(event)
            case ToolStarted():
                self._session.tool_started(event.tool, event.timeout_s)
            case ToolEnded():
                self._session.pending.tool_ended()
                self._session.tool_ended(event.tool)
            case Usage():
                log.info("turn used", extra=asdict(event))
            case Progress():
                self._note_progress(event)
        return None

    def _note_progress(self, event: Progress) -> None:
        log.info("provider progress", extra={"progress": event.message})
        answering = self._session.pending.answering
        if event.trouble is not None and answering:
            self._session.met_trouble(merge(answering), event.trouble)

    async def _end_turn(self, result: Result) -> None:
        session, pending = self._session, self._session.pending
        has_spoken = pending.has_spoken
        answered = pending.ended(self._loop.time(), result.answers)
        destinations = pending.destinations(answered)
        parsed = parse(content.clean(result.text or ""), destinations)
        replies = self._replies(parsed, rows_of(answered))
        raw = next((push for push in answered if push.is_raw), None)
        if answered and needs_correction(
            parsed,
            sent=len(replies),
            has_spoken=has_spoken,
            is_corrected=raw is not None or all(push.is_correction for push in answered),
            has_names=bool(destinations),
        ):
            log.info("turn reached nobody", extra={"scratchpad_length": len(parsed.scratchpad)})
            again = session.with_names(merge(answered).as_correction())
            await self._push(again, correction(again.destinations))
            return
        if raw is not None and not replies and parsed.scratchpad:
            replies = [words(target_of(raw.rows[0]), parsed.scratchpad)]
        self._settle(answered, replies)

    def _replies(self, parsed: Parsed, answered: Sequence[InboundMessage]) -> list[NewOutbound]:
        for name in parsed.unknown:
            log.warning("message to an unknown destination dropped", extra={"destination": name})
        return [self._session.outbound.to(block.to, block.body, answered) for block in parsed.blocks]

    def _settle(self, pushes: list[Prompt], replies: list[NewOutbound]) -> None:
        session = self._session
        session.activity.turn_ended()
        session.activity.set_busy(not session.pending.is_settled)
        message_ids = [message_id for push in pushes for message_id in push.message_ids]
        highest = session.inbox.highest() if replies else None
        session.outbox.settle(message_ids, messages=replies, highest_inbound=highest)
        session.bell.wake()  # a command may wait for the end of this turn
        counts = {"messages": len(message_ids), "replies": len(replies)}
        log.info("turn ended", extra=counts | {"correlation_id": pushes[0].correlation_id if pushes else None})

    async def _follow(self) -> None:
        """Hand over what comes in while the query is open."""
        session = self._session
        while not session.stopping.is_set():
            batch, stops = session.next_batch(raw_commands=self._raw_commands)
            for row in stops:
                await self._stop(row)
            self._settle_by_silence()
            if batch is None or (batch.command is not None and not session.pending.is_settled):
                if self._has_idled():
                    break
                await session.bell.wait(self._patience_s())
            elif batch.command is None:
                await self._tell(batch)
                await asyncio.sleep(0)  # answers have their turn, too, however much still waits to be told
            else:
                break  # commands work only as the first input, so the outer loop takes this one
        await (self._leave() if session.stopping.is_set() else self._end())

    async def _tell(self, batch: Batch) -> None:
        push = self._session.with_names(self._session.take(batch))
        log.info("message pushed", extra={"messages": len(push.rows)})
        await self._push(push, self._session.prompt(push))

    async def _push(self, push: Prompt, text: str) -> None:
        self._active_at = self._loop.time()
        if not self._is_turn_open:
            self._heard_at = self._active_at  # a turn begins; what joins one must not excuse a provider that hangs
        self._session.pending.pushed(push, self._active_at)
        self._stirred.set()
        await self._ask(self._query.push(text, push.id))

    async def _stop(self, row: InboundMessage) -> None:
        runs = self._is_turn_open
        if runs:
            self._session.pending.interrupted()
            await self._ask(self._query.interrupt())
        self._session.answer_command(row, "Stopped." if runs else "Nothing is running.")

    def _settle_by_silence(self) -> None:
        doubtful = self._session.pending.settle_by_silence(self._loop.time())
        if doubtful:
            self._settle(doubtful, [])

    def _has_idled(self) -> bool:
        idle_stop_s = self._session.config.idle_stop_s
        if idle_stop_s is None or not self._session.pending.is_settled or self._session.pending.is_running:
            return False
        self.is_idle_too_long = self._loop.time() - self._active_at >= idle_stop_s
        return self.is_idle_too_long

    def _patience_s(self) -> float:
        now, session = self._loop.time(), self._session
        ends = [now + session.poll_s(session.timeouts.open_poll_s)]
        silence_ends_at = session.pending.silence_ends_at()
        if silence_ends_at is not None:
            ends.append(silence_ends_at)
        if session.config.idle_stop_s is not None and session.pending.is_settled and not session.pending.is_running:
            ends.append(self._active_at + session.config.idle_stop_s)
        return max(0.001, min(ends) - now)

    async def _end(self) -> None:
        self._is_ending = True
        await self._ask(self._query.end())

    async def _leave(self) -> None:
        """End the query at SIGTERM.

        No turn of a push in doubt may have begun. If the provider has nothing left to do, it ends without another turn,
        which proves that the push was answered. Otherwise the push stays pending.
        """
        if self._session.pending.is_in_doubt:
            self._is_leaving = True
            await self._end()
            await asyncio.sleep(self._session.timeouts.end_s)  # cancelled when the events end
        await self._abort()

    async def _ask(self, call: Awaitable[None]) -> None:
        try:
            await call
        except Exception as error:  # a provider whose process died may raise here; the turn fails when its events end
            if is_exhausted(error):
                raise
            log.exception("provider raised")
            await self._abort()

    async def _abort(self) -> None:
        self._is_leaving = False  # events that end from now on prove nothing
        try:
            async with asyncio.timeout(self._session.timeouts.abort_s):
                await self._query.abort()
        except Exception:  # the query is over either way; whatever it says about that is for the log
            log.warning("query did not stop cleanly", exc_info=True)

    def _failure(self, error: Error) -> Failure:
        return Failure(error=error, push=self._session.pending.failed(error.answers))

    def _give_back(self, failure: Failure | None) -> None:
        failed = set(failure.push.message_ids) if failure is not None and failure.push is not None else set()
        for push in self._session.pending.close():
            if failed.isdisjoint(push.message_ids):
                self._session.inbox.give_back(push.rows)
                self._session.inbox.give_back(push.left_out)
