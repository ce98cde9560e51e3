"""One open conversation with the claude program: a task that owns the process, and a queue of events out of it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoclaw_runner.provider import ProviderContext
from nanoclaw_wire import clock
from nanoclaw_wire.events import Error, ErrorClass, Event
from nanoclaw_wire.exhaustion import is_exhausted, is_out_of_memory

from nanoclaw_provider_claude.archive import archive_transcript
from nanoclaw_provider_claude.mapping import Translator, classify
from nanoclaw_provider_claude.options import DISALLOWED_TOOLS, HookAnswer, Hooks, build_options

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeSDKClient

log = logging.getLogger("nanoclaw.claude")

INTERRUPT_S = 1.0  # it takes 0.02 s where the program is well
LAST_WORDS = 20  # lines of error output kept for the message of an error


class ClaudeQuery:
    """A `LiveQuery`. The program starts in the background; what is pushed meanwhile waits for it.

    A push after the end, or after `events` ended, is not said to anybody: no turn of it is reported.
    """

    def __init__(self, context: ProviderContext, *, continuation: str | None, instructions: str) -> None:
        self._context, self._continuation, self._instructions = context, continuation, instructions
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._input: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._translator = Translator(is_resumed=continuation is not None)
        self._client: ClaudeSDKClient | None = None
        self._underway = asyncio.Event()  # the program works on a turn, or will work on nothing any more
        self._has_ended = False  # no more input
        self._is_leaving = False  # the process is being ended
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._task = asyncio.create_task(self._run())

    @property
    def is_over(self) -> bool:
        """True where the program is gone."""
        return self._task.done()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens until the query ends."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # so that asking again ends again

    async def push(self, text: str, push_id: str) -> None:
        """Say something. The program names it in the result of the turn that takes it in, by the id as its `uuid`."""
        if self._has_ended or self._task.done():
            return
        self._translator.expect(push_id)
        message = {"role": "user", "content": text}
        self._input.put_nowait({"type": "user", "message": message, "parent_tool_use_id": None, "uuid": push_id})

    async def end(self) -> None:
        """Take no more input; the program leaves after the running turn."""
        self._has_ended = True
        self._input.put_nowait(None)

    async def abort(self) -> None:
        """Stop at once; the program is gone when this returns."""
        self._events.put_nowait(None)
        self._underway.set()
        if not self._is_leaving:  # cancelled once only, and not awaited itself: the clean-up must not be cut short
            self._is_leaving = True
            self._task.cancel()
        await asyncio.wait([self._task])

    async def interrupt(self) -> None:
        """Stop the running turn; does nothing where none is open."""
        if not self._translator.is_turn_open:
            return
        await self._underway.wait()  # an interrupt that comes before the turn would be forgotten
        if self._client is None or not self._translator.is_turn_open:
            return
        self._translator.is_interrupted = True
        try:
            await self._client.interrupt()
        except Exception as error:  # anything, where the program is going; the task tells of its end
            log.debug("interrupt not taken", extra={"error": str(error)})

    async def _prompts(self) -> AsyncIterator[dict[str, Any]]:
        while (prompt := await self._input.get()) is not None:
            yield prompt

    async def _run(self) -> None:
        try:
            await self._converse()
            self._fail(Error(message=self._explain("claude left"), retryable=True, kind=ErrorClass.CONNECTION))
        except Exception as error:  # the SDK and its process may raise anything; people and runner get one event
            log.debug("conversation failed", exc_info=True)
            self._fail(_as_error(error, self._explain(str(error))))
        finally:
            self._is_leaving = True
            self._underway.set()
            await self._disconnect()
            self._events.put_nowait(None)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if self._translator.is_underway:  # in the middle of a turn the program ignores the end of its input for 5 s
            with contextlib.suppress(Exception):  # whatever is wrong with it, `disconnect` ends it by force
                await asyncio.wait_for(client.interrupt(), INTERRUPT_S)
        await client.disconnect()

    async def _converse(self) -> None:
        await asyncio.to_thread(importlib.import_module, "claude_agent_sdk")  # over a second of work
        from claude_agent_sdk import ClaudeSDKClient

        self._client = ClaudeSDKClient(
            build_options(
                self._context,
                Hooks(
                    tool_starts=self._tool_starts, tool_ends=self._tool_ends, compaction_starts=self._compaction_starts
                ),
                continuation=self._continuation,
                instructions=self._instructions,
                on_error_output=self._last_words.append,
            )
        )
        await self._client.connect(self._prompts())
        async for message in self._client.receive_messages():
            for event in self._translator.translate(message):
                self._events.put_nowait(event)
            self._note_turn()

    def _note_turn(self) -> None:
        if self._translator.is_underway:
            self._underway.set()
        else:
            self._underway.clear()

    def _fail(self, error: Error) -> None:
        for event in self._translator.fail(error):
            self._events.put_nowait(event)

    def _explain(self, what: str) -> str:
        return "; ".join([what, *self._last_words])

    async def _tool_starts(self, given: Mapping[str, Any]) -> HookAnswer:
        tool = given["tool_name"]
        if tool in DISALLOWED_TOOLS:
            return _denial(f"{tool} is not available here")
        self._events.put_nowait(self._translator.tool_started(given["tool_use_id"], tool, given["tool_input"]))
        return {}

    async def _tool_ends(self, given: Mapping[str, Any]) -> HookAnswer:
        for event in self._translator.tool_ended(given["tool_use_id"]):
            self._events.put_nowait(event)
        return {}

    async def _compaction_starts(self, given: Mapping[str, Any]) -> HookAnswer:
        transcript, folder = Path(given["transcript_path"]), self._context.working_directory
        try:
            await asyncio.to_thread(archive_transcript, transcript, folder, clock.now())
        except OSError as error:
            if is_exhausted(error):
                message = f"conversation not archived: {error}"
                self._fail(Error(message=message, retryable=True, kind=ErrorClass.EXHAUSTED))
                await asyncio.Future()  # or the program drops the text that has no copy; cancelled with the query
            log.warning("conversation not archived", extra={"error": str(error)})
        return {}


def _denial(reason: str) -> HookAnswer:
    decision = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
    return {"hookSpecificOutput": decision}


def _as_error(error: Exception, text: str) -> Error:
    """Class what the SDK raised: an error result at the start, a process that failed, or a missing program."""
    status = getattr(error, "api_error_status", None)
    if isinstance(error, ValueError):  # ours: the sandbox is not what this provider needs
        return Error(message=text, retryable=False, kind=ErrorClass.CONNECTION)
    if is_exhausted(error) and not is_out_of_memory(error):
        return Error(message=text, retryable=True, kind=ErrorClass.EXHAUSTED)
    found = classify(text, status=status)
    is_process = type(error).__name__ in ("ProcessError", "CLIConnectionError")
    if found.kind is ErrorClass.INTERNAL and is_process:
        return Error(message=found.message, retryable=True, kind=ErrorClass.INTERNAL)
    return found
