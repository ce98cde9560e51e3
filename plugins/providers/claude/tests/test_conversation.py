"""The provider with the real claude program, against a scripted model."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from nanoclaw_provider_claude.options import PLACEHOLDER_KEY
from nanoclaw_provider_claude.runner import ClaudeProvider, nanoclaw_runner_plugin
from nanoclaw_runner.provider import ProviderContext, Tool, ToolError
from nanoclaw_wire.config import McpServer
from nanoclaw_wire.events import Alive, Error, ErrorClass, Init, Progress, Result, TookIn, ToolEnded, ToolStarted, Usage

from nanoclaw_core.testing.messages_script import Step

Opening = Any  # the fixture of conftest.py: a function that gives an async context manager

STDIO_SERVER = """
from mcp.server import MCPServer

server = MCPServer("weather")


@server.tool()
def forecast(city: str) -> str:
    return f"sunny in {city}"


server.run()
"""


def _children() -> list[int]:
    """Return the processes that a conversation started; the engine that other tests share is none of them."""
    found = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    return [int(pid) for pid in found if Path(f"/proc/{pid}/comm").read_text() not in ("dockerd\n", "containerd\n")]


def test_the_runner_half_offers_claude_without_loading_its_sdk() -> None:
    code = (
        "import sys; from nanoclaw_provider_claude.runner import nanoclaw_runner_plugin as part;"
        " assert [offer.name for offer in part().providers] == ['claude'];"
        " sys.exit(any(name in sys.modules for name in ('claude_agent_sdk', 'mcp', 'nanoclaw_core', 'pluggy')))"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
    assert nanoclaw_runner_plugin().name == "claude"


def test_a_conversation_of_two_turns_in_one_process(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="first answer"), Step(text="second answer", cache_read_tokens=5)) as open_talk:
            assert await open_talk.outcome() == Result(text="first answer", answers=[open_talk.first])
            more = await open_talk.push("and more")
            assert await open_talk.outcome() == Result(text="second answer", answers=[more])
            await open_talk.query.end()
            assert not [event for event in await open_talk.rest() if isinstance(event, Result | Error)]
            again = open_talk.api.conversations[1]
            assert again.says("hello")
            assert again.says("first answer")
            assert again.says("and more")
            assert "Be kind." in again.system
            assert len(open_talk.of(Init)) == 2
            assert open_talk.of(Alive)
            first, second = open_talk.of(Usage)
            assert (first.output_tokens, second.cache_read_tokens) == (3, 5)
            assert first.model is not None
        assert not _children()

    asyncio.run(scenario())


def test_a_new_process_goes_on_where_the_old_one_was_with_new_instructions(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="noted"), prompt="my name is Ada") as before:
            assert await before.outcome() == Result(text="noted", answers=[before.first])
            [init] = before.of(Init)
        async with talk(Step(text="Ada"), continuation=init.continuation, instructions="Be brief.") as after:
            assert await after.outcome() == Result(text="Ada", answers=[after.first])
            assert after.of(Init) == [init]
            [request] = after.api.conversations
            assert request.says("my name is Ada")
            assert "Be brief." in request.system
            assert "Be kind." not in request.system

    asyncio.run(scenario())


def test_model_and_effort_reach_the_platform(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="hello"), model="claude-opus-4-5", effort="low") as open_talk:
            await open_talk.outcome()
            [request] = open_talk.api.conversations
            assert request.body["model"] == "claude-opus-4-5"
            assert request.body["output_config"]["effort"] == "low"

    asyncio.run(scenario())


def test_a_continuation_that_is_not_known_is_stale(talk: Opening, context: ProviderContext) -> None:
    async def scenario() -> None:
        async with talk(continuation="11111111-1111-4111-8111-111111111111") as open_talk:
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert error.kind is ErrorClass.STALE_CONTINUATION
            assert ClaudeProvider(context).is_stale(error)
            assert not [event for event in await open_talk.rest() if isinstance(event, Result | Error)]

    asyncio.run(scenario())


async def _greet(arguments: Mapping[str, Any]) -> str:
    return f"greeted {arguments['name']}"


async def _fail(_arguments: Mapping[str, Any]) -> str:
    raise ToolError("there is no such destination")


def test_tools_run_in_this_process_and_their_errors_reach_the_model(talk: Opening) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    tools = [
        Tool(name="greet", description="Greet somebody", parameters=schema, run=_greet),
        Tool(name="fail", description="Fail", parameters={}, run=_fail),
    ]
    steps = [
        Step(tool="mcp__nanoclaw__greet", input={"name": "Ada"}),
        Step(tool="mcp__nanoclaw__greet", input={}),
        Step(tool="mcp__nanoclaw__fail"),
        Step(text="done"),
    ]

    async def scenario() -> None:
        async with talk(*steps, tools=tools) as open_talk:
            assert await open_talk.outcome() == Result(text="done", answers=[open_talk.first])
            first, *results = open_talk.api.conversations
            assert {"mcp__nanoclaw__greet", "mcp__nanoclaw__fail"} <= set(first.tools)
            assert results[0].last_said == "greeted Ada"
            assert "required" in results[1].last_said
            assert results[2].last_said == "there is no such destination"
            assert len(open_talk.of(ToolEnded)) == 3

    asyncio.run(scenario())


def test_a_running_tool_is_told_with_its_timeout_and_sees_no_key(
    talk: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"):
        monkeypatch.setenv(name, "secret-of-the-host")
    steps = [Step(tool="Bash", input={"command": "env", "timeout": 90_000}), Step(text="done")]

    async def scenario() -> None:
        async with talk(*steps) as open_talk:
            await open_talk.outcome()
            assert open_talk.of(ToolStarted) == [ToolStarted(tool="Bash", timeout_s=90.0)]
            assert open_talk.of(ToolEnded) == [ToolEnded(tool="Bash")]
            said = open_talk.api.conversations[1].last_said
            assert f"ANTHROPIC_API_KEY={PLACEHOLDER_KEY}" in said
            assert "of-the-host" not in said

    asyncio.run(scenario())


def test_a_command_finds_the_programs_and_the_variables_that_the_runner_gives(talk: Opening, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ncl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "asked $1 at $NANOCLAW_NCL_SOCKET"\n', encoding="utf-8")
    program.chmod(0o700)
    environment = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "NANOCLAW_NCL_SOCKET": "/door/ncl.sock",
        "ANTHROPIC_API_KEY": "never-this-one",
    }

    async def scenario() -> str:
        steps = [Step(tool="Bash", input={"command": "ncl help; env"}), Step(text="done")]
        async with talk(*steps, environment=environment) as open_talk:
            await open_talk.outcome()
            said: str = open_talk.api.conversations[1].last_said
            return said

    said = asyncio.run(scenario())
    assert "asked help at /door/ncl.sock" in said
    assert "never-this-one" not in said


def test_a_tool_that_only_makes_sense_at_a_terminal_is_not_offered(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(tool="ScheduleWakeup", input={}), Step(text="done")) as open_talk:
            assert await open_talk.outcome() == Result(text="done", answers=[open_talk.first])
            assert not {"ScheduleWakeup", "AskUserQuestion"} & set(open_talk.api.conversations[0].tools)
            assert not open_talk.of(ToolStarted)

    asyncio.run(scenario())


def test_a_configured_server_is_started_and_its_tools_can_be_called(talk: Opening, tmp_path: Path) -> None:
    program = tmp_path / "weather.py"
    program.write_text(STDIO_SERVER)
    servers = {"my weather": McpServer(command=sys.executable, args=[str(program)])}
    steps = [Step(tool="mcp__my_weather__forecast", input={"city": "Paris"}), Step(text="done")]

    async def scenario() -> None:
        async with talk(*steps, mcp_servers=servers) as open_talk:
            assert await open_talk.outcome() == Result(text="done", answers=[open_talk.first])
            assert "sunny in Paris" in open_talk.api.conversations[1].last_said

    asyncio.run(scenario())


def test_an_interrupt_ends_the_turn_without_text_and_the_conversation_goes_on(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="too long", hold=True), Step(text="better")) as open_talk:
            await open_talk.api.wait_for_requests(1)
            await open_talk.query.interrupt()
            assert await open_talk.outcome() == Result(text=None, answers=[open_talk.first])
            more = await open_talk.push("in short")
            assert await open_talk.outcome() == Result(text="better", answers=[more])

    asyncio.run(scenario())


def test_an_interrupt_before_the_program_runs_is_not_lost(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="too long", hold=True)) as open_talk:
            await open_talk.query.interrupt()
            outcome = await open_talk.outcome()
            assert isinstance(outcome, Result)
            assert outcome.text is None

    asyncio.run(scenario())


def test_what_is_pushed_while_the_model_speaks_becomes_a_turn_of_its_own_also_before_the_end(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="slow answer", delay_s=0.3, hold=True), Step(text="next answer")) as open_talk:
            await open_talk.api.wait_for_requests(1)
            more = await open_talk.push("one more thing")
            await open_talk.query.end()
            await open_talk.push("too late")
            open_talk.api.release()
            await open_talk.rest()
            assert open_talk.of(Result) == [
                Result(text="slow answer", answers=[open_talk.first]),
                Result(text="next answer", answers=[more]),
            ]

    asyncio.run(scenario())


def test_push_while_tool_runs_is_named_by_the_same_result(talk: Opening) -> None:
    """The model reads the push with the result of its tool, so one answer is about both."""

    async def scenario() -> None:
        async with talk(Step(tool="Bash", input={"command": "sleep 0.5"}), Step(text="both")) as open_talk:
            await open_talk.until(ToolStarted)
            more = await open_talk.push("and more")
            assert await open_talk.outcome() == Result(text="both", answers=[open_talk.first, more])
            assert open_talk.of(TookIn)[-1] == TookIn(pushes=[open_talk.first, more])
            assert "and more" in open_talk.api.conversations[1].last_said

    asyncio.run(scenario())


def test_error_of_joined_turn_names_both_pushes(talk: Opening) -> None:
    """The platform fails after a push joined: both messages are without an answer."""

    async def scenario() -> None:
        async with talk(Step(tool="Bash", input={"command": "sleep 0.5"}), Step(error=529, times=0)) as open_talk:
            await open_talk.until(ToolStarted)
            more = await open_talk.push("and more")
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert error.answers == (open_talk.first, more)

    asyncio.run(scenario())


def test_an_abort_that_nobody_waits_for_still_leaves_no_process(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="never", hold=True)) as open_talk:
            await open_talk.api.wait_for_requests(1)
            impatient = asyncio.create_task(open_talk.query.abort())
            await asyncio.sleep(0)
            impatient.cancel()
            await open_talk.query.abort()
            assert not _children()

    asyncio.run(scenario())


def test_after_an_abort_events_end_and_no_process_is_left(talk: Opening) -> None:
    command = f"{sys.executable} -c 'import time; time.sleep(600)'"

    async def scenario() -> None:
        async with talk(Step(tool="Bash", input={"command": command})) as open_talk:
            await open_talk.until(ToolStarted)
            await asyncio.wait_for(open_talk.query.abort(), 4.0)
            await open_talk.rest()
            assert not open_talk.of(Result)
            assert not _children()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, ErrorClass.REFUSED, False),
        (401, ErrorClass.AUTHENTICATION, False),
        (429, ErrorClass.QUOTA, True),
        (500, ErrorClass.OVERLOADED, True),
        (529, ErrorClass.OVERLOADED, True),
    ],
)
def test_a_refusal_of_the_platform_is_one_error_of_its_class(
    talk: Opening, status: int, kind: ErrorClass, retryable: bool
) -> None:
    async def scenario() -> None:
        async with talk(Step(error=status, retry_after_s=1, times=0)) as open_talk:
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert (error.kind, error.retryable) == (kind, retryable)
            await open_talk.query.end()
            assert not [event for event in await open_talk.rest() if isinstance(event, Result | Error)]

    asyncio.run(scenario())


def test_a_connection_that_drops_in_the_middle_is_tried_again_and_then_an_error(talk: Opening) -> None:
    async def scenario() -> None:
        steps = Step(text="never whole", drop=True, times=0)
        async with talk(steps, options={"max_retries": "1"}) as open_talk:
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert (error.kind, error.retryable) == (ErrorClass.CONNECTION, True)
            assert open_talk.of(Progress)

    asyncio.run(scenario())


def test_a_program_that_dies_in_the_middle_of_a_turn_is_an_error(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="never", hold=True)) as open_talk:
            await open_talk.api.wait_for_requests(1)
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert error.retryable
            assert not [event for event in await open_talk.rest() if isinstance(event, Result | Error)]

    asyncio.run(scenario())


def test_a_sandbox_without_a_gateway_is_told_so(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(gateway_url=None) as open_talk:
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert "no model gateway" in error.message
            assert not error.retryable

    asyncio.run(scenario())


def test_warning_10_a_compaction_keeps_a_copy_and_is_no_answer(talk: Opening, context: ProviderContext) -> None:
    async def scenario() -> None:
        async with talk(
            Step(text="noted"), Step(text="<summary>short</summary>", when="summary", times=0)
        ) as open_talk:
            await open_talk.outcome()
            await open_talk.push("/compact")
            outcome = await open_talk.outcome()
            assert isinstance(outcome, Result)
            assert "compacted" not in (outcome.text or "").lower()
            assert any("compacted" in event.message for event in open_talk.of(Progress))
            [copy] = (context.working_directory / "conversations").iterdir()
            assert "hello" in copy.read_text(encoding="utf-8")

    asyncio.run(scenario())
