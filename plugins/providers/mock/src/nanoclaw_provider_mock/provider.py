"""Runs a script, or says honestly that there is no model. Behaves towards the runner as one with a model does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from attrs import evolve
from nanoclaw_runner.provider import ProviderContext, Tool, ToolError
from nanoclaw_wire.events import Alive, Error, ErrorClass, Event, Init, Progress, Result, ToolEnded, ToolStarted

from nanoclaw_provider_mock.script import Script, Step, ToolCall, keep, read_steps
from nanoclaw_provider_mock.words import Heard, honest, listen, wrap


class Conversation:
    """What the mock remembers between sandboxes: how many turns there were.

    Args:
        path: The file it is kept in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.turns: int = json.loads(path.read_text(encoding="utf-8"))["turns"] if path.exists() else 0

    def count(self) -> int:
        """Count one more turn, and return its number."""
        self.turns += 1
        keep(self._path, {"turns": self.turns})
        return self.turns


class MockProvider:
    """The provider; see the README for what a script can say."""

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

    async def query(self, prompt: str, *, continuation: str | None, instructions: str) -> MockQuery:
        name = continuation or f"mock-session-{secrets.token_hex(6)}"
        path = self._directory / f"{name}.json"
        is_stale = continuation is not None and not path.exists()
        conversation = None if is_stale else Conversation(path)
        self._latest = MockQuery(
            prompt, name, conversation, script=self._script, tools=self._tools, is_echo=self._is_echo
        )
        return self._latest

    def is_stale(self, error: Error) -> bool:
        return error.kind is ErrorClass.STALE_CONTINUATION

    async def close(self) -> None:
        """End the newest conversation; the runner has ended those before it."""
        if self._latest is not None:
            await self._latest.abort()


class MockQuery:
    """One open conversation. Prompts wait in a queue; a push while a tool runs joins the turn instead.

    Args:
        conversation: None where the continuation is not known; the query then says so and ends.
    """

    def __init__(
        self,
        prompt: str,
        name: str,
        conversation: Conversation | None,
        *,
        script: Script,
        tools: Mapping[str, Tool],
        is_echo: bool,
    ) -> None:
        self._name, self._conversation, self._script = name, conversation, script
        self._tools, self._is_echo = tools, is_echo
        self._prompts: deque[str] = deque([prompt])
        self._joined: list[str] = []
        self._news = asyncio.Event()
        self._interrupted = asyncio.Event()
        self._last_text = ""
        self._is_ending = self._is_aborted = self._is_in_tool = False

    async def events(self) -> AsyncIterator[Event]:
        yield Alive()
        if self._conversation is None:
            kind = ErrorClass.STALE_CONTINUATION
            yield Error(message=f"no conversation {self._name!r}", retryable=False, kind=kind)
            return
        while (prompt := await self._next_prompt()) is not None:
            self._interrupted.clear()
            async for event in self._turn(prompt, self._conversation):
                if self._is_aborted:
                    return
                yield event
                if isinstance(event, Error):
                    return

    async def push(self, text: str) -> None:
        (self._joined if self._is_in_tool else self._prompts).append(text)
        self._news.set()

    async def end(self) -> None:
        self._is_ending = True
        self._news.set()

    async def abort(self) -> None:
        self._is_aborted = True
        self._interrupted.set()
        self._news.set()

    async def interrupt(self) -> None:
        self._interrupted.set()

    async def _next_prompt(self) -> str | None:
        while not self._is_aborted:
            if self._prompts:
                return self._prompts.popleft()
            if self._is_ending:
                return None
            self._news.clear()
            await self._news.wait()
        return None

    async def _turn(self, prompt: str, conversation: Conversation) -> AsyncIterator[Event]:
        turn = conversation.count()
        yield Init(continuation=self._name)
        step = self._script.take(prompt)
        if step is None:
            heard = self._listen(prompt)
            yield Result(text=wrap(heard.text if self._is_echo else honest(heard, turn), heard.origin))
            return
        results: list[str] = []
        async for event in self._act(step, results):
            yield event
        if self._interrupted.is_set():
            self._prompts.extend(self._joined)
            self._joined.clear()
            yield Result(text=None)
            return
        prompt = "\n\n".join([prompt, *self._joined])
        self._joined.clear()
        for event in _outcome(step, prompt, turn, results):
            yield event
        self._is_ending = self._is_ending or step.ends

    def _listen(self, prompt: str) -> Heard:
        """Read a prompt; one that only corrects stands for the one before it."""
        heard = listen(prompt)
        if heard.is_correction:
            return evolve(heard, text=self._last_text)
        self._last_text = heard.text
        return heard

    async def _act(self, step: Step, results: list[str]) -> AsyncIterator[Event]:
        """Do what comes before the last word."""
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


def _outcome(step: Step, prompt: str, turn: int, results: list[str]) -> list[Event]:
    """Return how a turn ends: one result or one error, or nothing where the script wants that."""
    if step.ends:
        return []
    if step.error is not None:
        return [step.error.as_event()]
    heard = listen(prompt)
    if step.text is not None:
        return [Result(text=_fill(step.text, prompt, heard, turn, results))]
    if step.reply is None:
        return [Result(text=None)]
    return [Result(text=wrap(_fill(step.reply, prompt, heard, turn, results), heard.origin))]


def _fill(template: str, prompt: str, heard: Heard, turn: int, results: list[str]) -> str:
    values = {
        "{text}": heard.text,
        "{from}": heard.origin,
        "{turn}": str(turn),
        "{results}": "\n".join(results),
        "{prompt}": prompt,
    }
    for name, value in values.items():
        template = template.replace(name, value)
    return template
