"""One open conversation with the claude program: a task that owns the process, and a queue of its events."""

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

INTERRUPT_S = 1.0  # a healthy program needs 0.02 s
STDERR_TAIL_LINES = 20  # kept for the message of an error


class ClaudeQuery:
    """A `LiveQuery` on the claude program.

    The program starts in the background, and pushes wait for it. A push after the end, or after `events` ended, is
    dropped: no turn of it is reported.
    """

    def __init__(self, context: ProviderContext, *, continuation: str | None, instructions: str) -> None:
        self._context, self._continuation, self._instructions = context, continuation, instructions
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._input: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._translator = Translator(is_resumed=continuation is not None)
        self._client: ClaudeSDKClient | None = None
        self._underway = asyncio.Event()  # set while the program works on a turn, and after its end
        self._has_ended = False  # no more input
        self._is_stopping = False  # the process is being stopped
        self._stderr_tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
        self._task = asyncio.create_task(self._run())

    @property
    def is_over(self) -> bool:
        """True if the program has exited."""
        return self._task.done()

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events of the query until it ends."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # ends every later iteration, too

    async def push(self, text: str, push_id: str) -> None:
        """Send a prompt. The result of the turn that takes it in names it by its id, which is its `uuid`."""
        if self._has_ended or self._task.done():
            return
        self._translator.expect(push_id)
        message = {"role": "user", "content": text}
        self._input.put_nowait({"type": "user", "message": message, "parent_tool_use_id": None, "uuid": push_id})

    async def end(self) -> None:
        """Take no more input. The program exits after the running turn."""
        self._has_ended = True
        self._input.put_nowait(None)

    async def abort(self) -> None:
        """Stop the program at once, and wait for its exit."""
        self._events.put_nowait(None)
        self._underway.set()
        if not self._is_stopping:  # cancel once, and do not await the task itself: its clean-up must not be interrupted
            self._is_stopping = True
            self._task.cancel()
        await asyncio.wait([self._task])

    async def interrupt(self) -> None:
        """Stop the running turn. Does nothing if no turn is open."""
        if not self._translator.is_turn_open:
            return
        await self._underway.wait()  # the program forgets an interrupt that comes before the turn
        if self._client is None or not self._translator.is_turn_open:
            return
        self._translator.is_interrupted = True
        try:
            await self._client.interrupt()
        except Exception as error:  # a program that is stopping raises anything; the task reports its end
            log.debug("interrupt failed", extra={"error": str(error)})

    async def _prompts(self) -> AsyncIterator[dict[str, Any]]:
        while (prompt := await self._input.get()) is not None:
            yield prompt

    async def _run(self) -> None:
        try:
            await self._run_conversation()
            self._fail(Error(message=self._explain("claude exited"), retryable=True, kind=ErrorClass.CONNECTION))
        except Exception as error:  # the SDK and its process may raise anything; the runner gets one event
            log.debug("conversation failed", exc_info=True)
            self._fail(_as_error(error, self._explain(str(error))))
        finally:
            self._is_stopping = True
            self._underway.set()
            await self._disconnect()
            self._events.put_nowait(None)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if self._translator.is_underway:  # during a turn the program ignores the end of its input for 5 s
            with contextlib.suppress(Exception):  # `disconnect` stops the program by force if this fails
                await asyncio.wait_for(client.interrupt(), INTERRUPT_S)
        await client.disconnect()

    async def _run_conversation(self) -> None:
        await asyncio.to_thread(importlib.import_module, "claude_agent_sdk")  # takes more than a second
        from claude_agent_sdk import ClaudeSDKClient

        self._client = ClaudeSDKClient(
            build_options(
                self._context,
                Hooks(
                    tool_starts=self._tool_starts, tool_ends=self._tool_ends, compaction_starts=self._compaction_starts
                ),
                continuation=self._continuation,
                instructions=self._instructions,
                on_error_output=self._stderr_tail.append,
            )
        )
        await self._client.connect(self._prompts())
        async for message in self._client.receive_messages():
            for event in self._translator.translate(message):
                self._events.put_nowait(event)
            self._update_underway()

    def _update_underway(self) -> None:
        if self._translator.is_underway:
            self._underway.set()
        else:
            self._underway.clear()

    def _fail(self, error: Error) -> None:
        for event in self._translator.fail(error):
            self._events.put_nowait(event)

    def _explain(self, reason: str) -> str:
        return "; ".join([reason, *self._stderr_tail])

    async def _tool_starts(self, hook_input: Mapping[str, Any]) -> HookAnswer:
        tool = hook_input["tool_name"]
        if tool in DISALLOWED_TOOLS:
            return _denial(f"{tool} is not available here")
        self._events.put_nowait(
            self._translator.tool_started(hook_input["tool_use_id"], tool, hook_input["tool_input"])
        )
        return {}

    async def _tool_ends(self, hook_input: Mapping[str, Any]) -> HookAnswer:
        for event in self._translator.tool_ended(hook_input["tool_use_id"]):
            self._events.put_nowait(event)
        return {}

    async def _compaction_starts(self, hook_input: Mapping[str, Any]) -> HookAnswer:
        transcript, folder = Path(hook_input["transcript_path"]), self._context.working_directory
        try:
            await asyncio.to_thread(archive_transcript, transcript, folder, clock.now())
        except OSError as error:
            if is_exhausted(error):
                message = f"conversation not archived: {error}"
                self._fail(Error(message=message, retryable=True, kind=ErrorClass.EXHAUSTED))
                await asyncio.Future()  # block the compaction, which would drop the text; the query cancels this
            log.warning("conversation not archived", extra={"error": str(error)})
        return {}


def _denial(reason: str) -> HookAnswer:
    decision = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
    return {"hookSpecificOutput": decision}


def _as_error(error: Exception, text: str) -> Error:
    """Classify an exception of the SDK: an error result at the start, a failed process, or a missing program."""
    status = getattr(error, "api_error_status", None)
    if isinstance(error, ValueError):  # from `environment`: the sandbox has no gateway
        return Error(message=text, retryable=False, kind=ErrorClass.CONNECTION)
    if is_exhausted(error) and not is_out_of_memory(error):
        return Error(message=text, retryable=True, kind=ErrorClass.EXHAUSTED)
    classified = classify(text, status=status)
    is_process = type(error).__name__ in ("ProcessError", "CLIConnectionError")
    if classified.kind is ErrorClass.INTERNAL and is_process:
        return Error(message=classified.message, retryable=True, kind=ErrorClass.INTERNAL)
    return classified
