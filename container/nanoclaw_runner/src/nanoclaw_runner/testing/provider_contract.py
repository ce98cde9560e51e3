"""What every provider's runner half must do, as tests. Inherit, say how its model is scripted, and pytest runs them:

    class TestYours(ProviderContract):
        plugin = "nanoclaw_provider_yours.runner"

        @asynccontextmanager
        async def provider(self, context, turns):
            async with FakeModel([turn.text for turn in turns]) as model:
                provider = YourProvider(evolve(context, gateway_url=model.url))
                yield provider
                await provider.close()

What a provider cannot do is said by a class attribute. Nothing here needs more of pytest than `tmp_path`.
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

from nanoclaw_runner.provider import LiveQuery, Provider, ProviderContext, RunnerPart, Tool
from nanoclaw_runner.testing.host_side import PATIENCE_S

E = TypeVar("E")
HOST_ONLY = ("nanoclaw_core", "pluggy", "click", "docker")
GREET = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@frozen(kw_only=True)
class Turn:
    """What the scripted model does in one turn. A provider may make several requests of it.

    Args:
        text: The model's last word.
        waits: It says nothing until it is interrupted or aborted.
        fails: The model's platform refuses the request, for good.
        greets: The name with which it calls the tool `greet` before it says its text; empty calls nothing.
    """

    text: str = ""
    waits: bool = False
    fails: bool = False
    greets: str = ""


class Talk:
    """An open query: what it reported so far, and the way to the next event."""

    def __init__(self, query: LiveQuery) -> None:
        self.query = query
        self.seen: list[Event] = []
        self._events = query.events()

    async def until(self, *kinds: type[E]) -> E:
        """Read on to the next event of one of these kinds."""
        async with asyncio.timeout(PATIENCE_S):
            async for event in self._events:
                self.seen.append(event)
                if isinstance(event, kinds):
                    return event
        raise AssertionError(f"the events ended before any of {kinds}: {self.seen}")

    async def outcome(self) -> Result | Error:
        """Read on to the end of the turn."""
        return await self.until(Result, Error)

    async def rest(self) -> list[Result | Error]:
        """Read on to the end of the events; return how the turns ended that are still told of."""
        async with asyncio.timeout(PATIENCE_S):
            events = [event async for event in self._events]
        self.seen += events
        return [event for event in events if isinstance(event, Result | Error)]

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind so far."""
        return [event for event in self.seen if isinstance(event, kind)]


class ProviderContract:
    """Inherit from it; see the module's text.

    Attributes:
        plugin: The module of the runner half.
        unknown_continuation: A continuation of the right form that no conversation has.
        runs_tools: False for a provider whose model cannot call the tools it is given.
        loads_late: Modules that only a conversation may load, beside those of the host: the SDK.
    """

    plugin: ClassVar[str]
    unknown_continuation: ClassVar[str] = "11111111-1111-4111-8111-111111111111"
    runs_tools: ClassVar[bool] = True
    loads_late: ClassVar[Sequence[str]] = ()

    def provider(self, context: ProviderContext, turns: Sequence[Turn]) -> AbstractAsyncContextManager[Provider]:
        """Connect the provider to a model that plays these turns; to be overridden. It closes both at the end."""
        raise NotImplementedError("override `provider`: it says how the model is scripted")

    def test_the_part_is_named_as_its_plugin_and_loads_nothing_heavy(self) -> None:
        part: RunnerPart = import_module(self.plugin).nanoclaw_runner_part()
        assert [offer.name for offer in part.providers] == [part.name]
        script = f"import sys, {self.plugin} as half; half.nanoclaw_runner_part(); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) & {*HOST_ONLY, *self.loads_late} == set()

    def test_a_turn_begins_with_a_continuation_and_ends_with_one_result(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="hello")) as talk:
                assert await talk.outcome() == Result(text="hello")
                assert all(init.continuation for init in talk.of(Init))
                assert talk.of(Init)
                await talk.query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_what_is_said_after_a_turn_is_a_turn_of_its_own(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="first"), Turn(text="second")) as talk:
                assert await talk.outcome() == Result(text="first")
                await talk.query.push("and more")
                assert await talk.outcome() == Result(text="second")
                await talk.query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_an_end_lets_the_running_turn_come_to_its_result(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="last words")) as talk:
                await talk.query.end()
                assert await talk.rest() == [Result(text="last words")]

        asyncio.run(scenario())

    def test_a_turn_that_fails_ends_with_one_error_and_raises_nothing(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(fails=True)) as talk:
                error = await talk.outcome()
                assert isinstance(error, Error)
                assert error.message
                await talk.query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_an_interrupt_ends_the_turn_without_text_and_the_query_stays_open(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(waits=True), Turn(text="better")) as talk:
                await talk.until(Init)
                await talk.query.interrupt()
                assert await talk.outcome() == Result(text=None)
                await talk.query.push("in short")
                assert await talk.outcome() == Result(text="better")

        asyncio.run(scenario())

    def test_an_abort_ends_the_events_without_a_result_and_leaves_no_process(self, tmp_path: Path) -> None:
        before = children()

        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(waits=True)) as talk:
                await talk.until(Init)
                async with asyncio.timeout(PATIENCE_S):
                    await talk.query.abort()
                assert [one for one in await talk.rest() if isinstance(one, Result)] == []
                assert children() <= before

        asyncio.run(scenario())

    def test_a_close_in_the_middle_of_a_turn_leaves_no_process(self, tmp_path: Path) -> None:
        before = children()

        async def scenario() -> None:
            async with self.provider(context_in(tmp_path), [Turn(waits=True)]) as provider:
                talk = Talk(await provider.query("hello", continuation=None, instructions=""))
                await talk.until(Init)
                async with asyncio.timeout(PATIENCE_S):
                    await provider.close()
                assert children() <= before
                await talk.rest()

        asyncio.run(scenario())

    def test_a_continuation_goes_on_in_another_process_life(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(text="noted")) as before:
                await before.outcome()
                continuation = before.of(Init)[-1].continuation
                await before.query.end()
                await before.rest()
            async with self.talk(tmp_path, Turn(text="I remember"), continuation=continuation) as after:
                assert await after.outcome() == Result(text="I remember")

        asyncio.run(scenario())

    def test_a_continuation_that_is_not_known_is_one_error_that_says_so(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.provider(context_in(tmp_path), [Turn(text="never")]) as provider:
                query = await provider.query("hello", continuation=self.unknown_continuation, instructions="")
                talk = Talk(query)
                error = await talk.outcome()
                assert isinstance(error, Error)
                assert provider.is_stale(error)
                await query.end()
                assert await talk.rest() == []

        asyncio.run(scenario())

    def test_an_error_of_another_kind_does_not_throw_the_conversation_away(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with self.provider(context_in(tmp_path), [Turn(fails=True)]) as provider:
                error = await Talk(await provider.query("hello", continuation=None, instructions="")).outcome()
                assert isinstance(error, Error)
                assert not provider.is_stale(error)

        asyncio.run(scenario())

    def test_a_tool_runs_in_this_process_between_its_two_events(self, tmp_path: Path) -> None:
        if not self.runs_tools:
            return
        greeted: list[str] = []

        async def greet(arguments: Mapping[str, Any]) -> str:
            greeted.append(arguments["name"])
            return "they were glad"

        tool = Tool(name="greet", description="Greet somebody", parameters=GREET, run=greet)

        async def scenario() -> None:
            async with self.talk(tmp_path, Turn(greets="Ada", text="done"), tools=[tool]) as talk:
                assert await talk.outcome() == Result(text="done")
                [started], [ended] = talk.of(ToolStarted), talk.of(ToolEnded)
                assert started.tool == ended.tool
                assert talk.seen.index(started) < talk.seen.index(ended)

        asyncio.run(scenario())
        assert greeted == ["Ada"]

    @asynccontextmanager
    async def talk(
        self, directory: Path, *turns: Turn, continuation: str | None = None, tools: Sequence[Tool] = ()
    ) -> AsyncIterator[Talk]:
        """Open a query on a provider whose model plays these turns."""
        async with self.provider(evolve(context_in(directory), tools=tools), turns) as provider:
            yield Talk(await provider.query("hello", continuation=continuation, instructions="Be kind."))


def context_in(directory: Path) -> ProviderContext:
    """Describe a sandbox whose folders are in a directory; the same directory is the same session."""
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
    """Return the processes that this one has started and that have not ended."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}
