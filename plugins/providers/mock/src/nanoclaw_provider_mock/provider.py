"""Follows a script, or reports that there is no model. Towards the runner it behaves like a provider with a model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen
from nanoclaw_runner.provider import ProviderContext, Tool, ToolError
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
)

from nanoclaw_provider_mock.prompts import ParsedPrompt, no_model_notice, parse_prompt, wrap
from nanoclaw_provider_mock.script import Script, Step, ToolCall, read_steps, write_json


@frozen(kw_only=True)
class MockPrompt:
    """A prompt or a push. `id` names it in the result."""

    text: str
    id: str


class ConversationFile:
    """The number of turns of a conversation, kept between sandboxes.

    Args:
        path: The file of the number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.turns: int = json.loads(path.read_text(encoding="utf-8"))["turns"] if path.exists() else 0

    def count(self) -> int:
        """Count one more turn, and return its number."""
        self.turns += 1
        write_json(self._path, {"turns": self.turns})
        return self.turns


class MockProvider:
    """The provider. The README describes its scripts."""

    def __init__(self, context: ProviderContext) -> None:
        self._directory = context.state_directory
        self._script = Script(read_steps(context.options), self._directory / "script-uses.json")
        self._tools = {tool.name: tool for tool in context.tools}
        self._is_echo = "echo" in context.options
        self._has_slash_commands = "slash_commands" in context.options
        self._latest: MockQuery | None = None

    @property
    def has_slash_commands(self) -> bool:
        return self._has_slash_commands

    async def query(self, prompt: str, *, push_id: str, continuation: str | None, instructions: str) -> MockQuery:
        name = continuation or f"mock-session-{secrets.token_hex(6)}"
        path = self._directory / f"{name}.json"
        is_stale = continuation is not None and not path.exists()
        conversation = None if is_stale else ConversationFile(path)
        first = MockPrompt(text=prompt, id=push_id)
        self._latest = MockQuery(
            first, name, conversation, script=self._script, tools=self._tools, is_echo=self._is_echo
        )
        return self._latest

    def is_stale(self, error: Error) -> bool:
        return error.kind is ErrorClass.STALE_CONTINUATION

    async def close(self) -> None:
        """End the newest conversation. The runner has ended the earlier ones."""
        if self._latest is not None:
            await self._latest.abort()


class MockQuery:
    """One open conversation. Prompts wait in a queue, but a push while a tool runs joins the turn.

    Args:
        conversation: None if the continuation is unknown. The query then reports it and ends.
    """

    def __init__(
        self,
        prompt: MockPrompt,
        name: str,
        conversation: ConversationFile | None,
        *,
        script: Script,
        tools: Mapping[str, Tool],
        is_echo: bool,
    ) -> None:
        self._name, self._conversation, self._script = name, conversation, script
        self._tools, self._is_echo = tools, is_echo
        self._prompts: deque[MockPrompt] = deque([prompt])
        self._joined: list[MockPrompt] = []
        self._changed = asyncio.Event()
        self._interrupted = asyncio.Event()
        self._last_text = ""
        self._is_ending = self._is_aborted = self._is_in_turn = self._is_in_tool = False

    async def events(self) -> AsyncIterator[Event]:
        yield Alive()
        if self._conversation is None:
            kind = ErrorClass.STALE_CONTINUATION
            answers = [self._prompts[0].id]
            yield Error(message=f"no conversation {self._name!r}", retryable=False, kind=kind, answers=answers)
            return
        while (prompt := await self._next_prompt()) is not None:
            self._is_in_turn = True
            async for event in self._turn(prompt, self._conversation):
                if isinstance(event, Result):
                    self._is_in_turn = False
                    self._interrupted.clear()
                if self._is_aborted:
                    return
                yield event
                if isinstance(event, Error):
                    return

    async def push(self, text: str, push_id: str) -> None:
        (self._joined if self._is_in_tool else self._prompts).append(MockPrompt(text=text, id=push_id))
        self._changed.set()

    async def end(self) -> None:
        self._is_ending = True
        self._changed.set()

    async def abort(self) -> None:
        self._is_aborted = True
        self._interrupted.set()
        self._changed.set()

    async def interrupt(self) -> None:
        if self._is_in_turn or self._prompts:  # an interrupt before its turn is not lost
            self._interrupted.set()

    async def _next_prompt(self) -> MockPrompt | None:
        while not self._is_aborted:
            if self._prompts:
                return self._prompts.popleft()
            if self._is_ending:
                return None
            self._changed.clear()
            await self._changed.wait()
        return None

    async def _turn(self, prompt: MockPrompt, conversation: ConversationFile) -> AsyncIterator[Event]:
        turn = conversation.count()
        yield Init(continuation=self._name)
        yield TookIn(pushes=[prompt.id])
        step = self._script.take(prompt.text)
        if step is None:
            parsed = self._parse(prompt.text)
            text = wrap(parsed.text if self._is_echo else no_model_notice(parsed, turn), parsed.origin)
            yield Result(text=text, answers=[prompt.id])
            return
        results: list[str] = []
        async for event in self._act(step, results):
            yield event
            if isinstance(event, ToolEnded) and self._joined and not self._interrupted.is_set():
                yield TookIn(pushes=[prompt.id, *(joined.id for joined in self._joined)])
        if self._interrupted.is_set():
            self._prompts.extend(self._joined)
            self._joined.clear()
            yield Result(text=None, answers=[prompt.id])
            return
        prompts = [prompt, *self._joined]
        self._joined.clear()
        for event in _outcome(step, prompts, turn, results):
            yield event
        self._is_ending = self._is_ending or step.ends

    def _parse(self, prompt: str) -> ParsedPrompt:
        """Parse a prompt. A prompt that only asks for a correction repeats the text before it."""
        parsed = parse_prompt(prompt)
        if parsed.is_correction:
            return evolve(parsed, text=self._last_text)
        self._last_text = parsed.text
        return parsed

    async def _act(self, step: Step, results: list[str]) -> AsyncIterator[Event]:
        """Run the parts of a step that come before the final text."""
        if step.crash is not None:
            os._exit(step.crash)
        if step.raises is not None:
            raise RuntimeError(step.raises)
        for call in step.tools:
            yield ToolStarted(tool=call.name, timeout_s=call.timeout_s)
            results.append(await self._call(call))
            yield ToolEnded(tool=call.name)
        await self._pause(step.delay_s)
        if step.progress is not None:
            yield Progress(message=step.progress)
        if step.usage is not None:
            yield step.usage

    async def _call(self, call: ToolCall) -> str:
        self._is_in_tool = True
        try:
            await self._pause(call.delay_s)
            if self._interrupted.is_set():
                return "interrupted"
            if call.name not in self._tools:
                return f"Unknown tool: {call.name}"
            return await self._tools[call.name].run(call.arguments)
        except ToolError as error:
            return f"Error: {error}"
        finally:
            self._is_in_tool = False

    async def _pause(self, seconds: float) -> None:
        if seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._interrupted.wait()


def _outcome(step: Step, prompts: Sequence[MockPrompt], turn: int, results: list[str]) -> list[Event]:
    """Return the end of a turn: one result, one error, or nothing if the step ends without a result."""
    answers = [prompt.id for prompt in prompts]
    if step.ends:
        return []
    if step.error is not None:
        return [evolve(step.error.as_event(), answers=answers)]
    text = _final_text(step, "\n\n".join(prompt.text for prompt in prompts), turn, results)
    return [Result(text=text, answers=answers)]


def _final_text(step: Step, prompt: str, turn: int, results: list[str]) -> str | None:
    parsed = parse_prompt(prompt)
    if step.text is not None:
        return _fill(step.text, prompt, parsed, turn, results)
    return None if step.reply is None else wrap(_fill(step.reply, prompt, parsed, turn, results), parsed.origin)


def _fill(template: str, prompt: str, parsed: ParsedPrompt, turn: int, results: list[str]) -> str:
    values = {
        "{text}": parsed.text,
        "{from}": parsed.origin,
        "{turn}": str(turn),
        "{results}": "\n".join(results),
        "{prompt}": prompt,
    }
    for name, value in values.items():
        template = template.replace(name, value)
    return template
