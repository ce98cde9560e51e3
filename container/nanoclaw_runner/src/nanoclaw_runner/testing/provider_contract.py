"""Tests that every provider's runner half must pass.

Inherit from `ProviderContract` and connect the provider to a scripted model:

    class TestYours(ProviderContract):
        plugin = "nanoclaw_provider_yours.runner"

        @asynccontextmanager
        async def provider(self, context, turns):
            async with FakeModel([turn.text for turn in turns]) as model:
                provider = YourProvider(evolve(context, gateway_url=model.url))
                yield provider
                await provider.close()

Class attributes name the abilities that a provider lacks. The tests need only pytest's `tmp_path`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from attrs import evolve, frozen
from nanoclaw_wire.events import Error, Event, Init, Result, ToolEnded, ToolStarted

from nanoclaw_runner.pending_prompts import new_push_id
from nanoclaw_runner.provider import LiveQuery, Provider, ProviderContext, RunnerPlugin, Tool
from nanoclaw_runner.testing.host_side import PATIENCE_S

E = TypeVar("E")
HOST_ONLY = ("nanoclaw_core", "pluggy", "click", "docker")
GREET = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@frozen(kw_only=True)
class Turn:
    """One turn of the scripted model. A provider may make several requests for it.

    Args:
        text: The model's final text.
        waits: True if the model says nothing until it is interrupted or aborted.
        fails: True if the model's platform refuses the request for good.
        greets: The argument of a call of the tool `greet` before the text; empty for no call.
    """

    text: str = ""
    waits: bool = False
    fails: bool = False
    greets: str = ""


class Talk:
    """An open query and its events so far.

    Args:
        query: The query.
        first: The id of its first prompt.
    """

    def __init__(self, query: LiveQuery, first: str) -> None:
        self.query, self.first = query, first
        self.seen: list[Event] = []
        self._events = query.events()

    async def push(self, text: str) -> str:
        """Push a prompt, and return the id of the push."""
        push_id = new_push_id()
        await self.query.push(text, push_id)
        return push_id

    async def until(self, *kinds: type[E]) -> E:
        """Read up to the next event of one of these kinds, and return it."""
        async with asyncio.timeout(PATIENCE_S):
            async for event in self._events:
                self.seen.append(event)
                if isinstance(event, kinds):
                    return event
        raise AssertionError(f"the events ended before any of {kinds}: {self.seen}")

    async def outcome(self) -> Result | Error:
        """Read up to the end of the turn, and return its event."""
        return await self.until(Result, Error)

    async def rest(self) -> list[Result | Error]:
        """Read up to the end of the events; return the remaining results and errors."""
        async with asyncio.timeout(PATIENCE_S):
            events = [event async for event in self._events]
        self.seen += events
        return [event for event in events if isinstance(event, Result | Error)]

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind so far."""
        return [event for event in self.seen if isinstance(event, kind)]


class ProviderContract:
    """The tests of a provider's runner half.

    Attributes:
        plugin: The module of the runner half.
        unknown_continuation: A continuation in the provider's format that no conversation has.
        runs_tools: False if the provider's model cannot call the runner's tools.
        names_pushes: False if the provider cannot know which pushes a turn took in.
        loads_late: Modules that only a conversation may load, for example the SDK. Those of the host may never load.
    """

    plugin: ClassVar[str]
    unknown_continuation: ClassVar[str] = "11111111-1111-4111-8111-111111111111"
    runs_tools: ClassVar[bool] = True
    names_pushes: ClassVar[bool] = True
    loads_late: ClassVar[Sequence[str]] = ()

    def provider(self, context: ProviderContext, turns: Sequence[Turn]) -> AbstractAsyncContextManager[Provider]:
        """Connect the provider to a model that plays these turns, and close both at the end. Override this method."""
        raise NotImplementedError("`provider` must be overridden. Connect your provider to a scripted model in it.")

    def test_plugin_has_its_providers_name_and_loads_no_sdk(self) -> None:
        plugin: RunnerPlugin = import_module(self.plugin).nanoclaw_runner_plugin()
        assert [offer.name for offer in plugin.providers] == [plugin.name]
        script = f"import sys, {self.plugin} as half; half.nanoclaw_runner_plugin(); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) & {*HOST_ONLY, *self.loads_late} == set()

    def test_turn_begins_with_init_and_ends_with_one_result(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="hello")) as talk:
                self.check(await talk.outcome(), "hello", talk.first)
                assert all(init.continuation for init in talk.of(Init))
                assert talk.of(Init)
                await talk.query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_push_after_a_turn_gets_its_own_turn(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="first"), Turn(text="second")) as talk:
                self.check(await talk.outcome(), "first", talk.first)
                more = await talk.push("and more")
                self.check(await talk.outcome(), "second", more)
                await talk.query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_end_lets_the_running_turn_finish(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="last words")) as talk:
                await talk.query.end()
                [outcome] = await talk.rest()
                self.check(outcome, "last words", talk.first)

        asyncio.run(scenario())

    def test_failed_turn_ends_with_one_error(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(fails=True)) as talk:
                error = await talk.outcome()
                assert isinstance(error, Error)
                assert error.message
                assert error.answers == ((talk.first,) if self.names_pushes else None)
                await talk.query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_push_while_model_speaks_is_named_once(self, tmp_path: Path) -> None:
        """The push joins the running turn or gets its own; one result names it."""

        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="first"), Turn(text="second")) as talk:
                await talk.until(Init)
                more = await talk.push("and more")
                await talk.query.end()
                self.check_named_once(await talk.rest(), talk.first, more)

        asyncio.run(scenario())

    def test_pushes_while_tool_runs_are_named_once(self, tmp_path: Path) -> None:
        """Both pushes join the turn, or each gets its own."""
        if not self.runs_tools:
            return
        talks: list[Talk] = []
        pushes: list[str] = []

        async def greet(_arguments: Mapping[str, Any]) -> str:
            pushes.extend([await talks[0].push("and more"), await talks[0].push("and even more")])
            return "they were glad"

        tool = Tool(name="greet", description="Greet a person", parameters=GREET, run=greet)
        turns = [Turn(greets="Ada", text="done"), Turn(text="second"), Turn(text="third")]

        async def scenario() -> None:
            async with self.talk(tmp_path, *turns, tools=[tool]) as talk:
                talks.append(talk)
                await talk.until(ToolEnded)
                await talk.query.end()
                self.check_named_once(await talk.rest(), talk.first, *pushes)

        asyncio.run(scenario())

    def test_interrupt_ends_the_turn_and_keeps_the_query_open(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(waits=True), Turn(text="better")) as talk:
                await talk.until(Init)
                await talk.query.interrupt()
                interrupted = await talk.outcome()
                assert isinstance(interrupted, Result)
                assert interrupted.text is None
                more = await talk.push("in short")
                self.check(await talk.outcome(), "better", more)

        asyncio.run(scenario())

    def test_abort_ends_the_events_without_result_or_process(self, tmp_path: Path) -> None:
        before = children()

        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(waits=True)) as talk:
                await talk.until(Init)
                async with asyncio.timeout(PATIENCE_S):
                    await talk.query.abort()
                assert [event for event in await talk.rest() if isinstance(event, Result)] == []
                assert children() <= before

        asyncio.run(scenario())

    def test_close_during_a_turn_leaves_no_process(self, tmp_path: Path) -> None:
        before = children()

        async def scenario() -> None:
            async with self.provider(context_in(tmp_path), [Turn(waits=True)]) as provider:
                talk = await open_talk(provider)
                await talk.until(Init)
                async with asyncio.timeout(PATIENCE_S):
                    await provider.close()
                assert children() <= before
                await talk.rest()

        asyncio.run(scenario())

    def test_continuation_resumes_in_another_process(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="noted")) as before:
                await before.outcome()
                continuation = before.of(Init)[-1].continuation
                await before.query.end()
                await before.rest()
            async with self.talk(tmp_path, Turn(text="I remember"), continuation=continuation) as after:
                self.check(await after.outcome(), "I remember", after.first)

        asyncio.run(scenario())

    def test_unknown_continuation_is_one_stale_error(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.provider(context_in(tmp_path), [Turn(text="never")]) as provider:
                talk = await open_talk(provider, continuation=self.unknown_continuation)
                error = await talk.outcome()
                assert isinstance(error, Error)
                assert provider.is_stale(error)
                await talk.query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_other_error_is_not_stale(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.provider(context_in(tmp_path), [Turn(fails=True)]) as provider:
                error = await (await open_talk(provider)).outcome()
                assert isinstance(error, Error)
                assert not provider.is_stale(error)

        asyncio.run(scenario())

    def test_tool_runs_in_this_process_between_its_events(self, tmp_path: Path) -> None:
        if not self.runs_tools:
            return
        greeted: list[str] = []

        async def greet(arguments: Mapping[str, Any]) -> str:
            greeted.append(arguments["name"])
            return "they were glad"

        tool = Tool(name="greet", description="Greet a person", parameters=GREET, run=greet)

        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(greets="Ada", text="done"), tools=[tool]) as talk:
                self.check(await talk.outcome(), "done", talk.first)
                [started], [ended] = talk.of(ToolStarted), talk.of(ToolEnded)
                assert started.tool == ended.tool
                assert talk.seen.index(started) < talk.seen.index(ended)

        asyncio.run(scenario())
        assert greeted == ["Ada"]

    @asynccontextmanager
    async def talk(
        self, directory: Path, *turns: Turn, continuation: str | None = None, tools: Sequence[Tool] = ()
    ) -> AsyncIterator[Talk]:
        """Connect a provider to a model that plays these turns, and open a query."""
        async with self.provider(evolve(context_in(directory), tools=tools), turns) as provider:
            yield await open_talk(provider, continuation=continuation, instructions="Be kind.")

    def check(self, outcome: Result | Error, text: str, *pushes: str) -> None:
        """Check that a turn ended with this text, and named these pushes if the provider can know them."""
        assert outcome == Result(text=text, answers=pushes if self.names_pushes else None)

    def check_named_once(self, outcomes: Sequence[Result | Error], *pushes: str) -> None:
        """Check that exactly one outcome names each push, in their order."""
        named = [push for outcome in outcomes for push in outcome.answers or ()]
        assert named == (list(pushes) if self.names_pushes else [])


async def open_talk(provider: Provider, *, continuation: str | None = None, instructions: str = "") -> Talk:
    """Open a query with the prompt "hello"."""
    first = new_push_id()
    query = await provider.query("hello", push_id=first, continuation=continuation, instructions=instructions)
    return Talk(query, first)


def context_in(directory: Path) -> ProviderContext:
    """Return the context of a sandbox in a directory. The same directory continues the same session."""
    for name in ("agent", "state", "home"):
        (directory / name).mkdir(exist_ok=True)
    return ProviderContext(
        working_directory=directory / "agent",
        state_directory=directory / "state",
        extra_directories=[],
        gateway_url=None,
        assistant_name="Andy",
        model=None,
        effort=None,
        options={},
        mcp_servers={},
        tools=[],
        environment={"HOME": str(directory / "home"), "PATH": os.environ.get("PATH", os.defpath)},
    )


def children() -> set[int]:
    """Return the ids of the running child processes."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}
