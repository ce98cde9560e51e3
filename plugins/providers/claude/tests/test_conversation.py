"""The provider on the real claude program with a scripted model."""

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
    """Return the processes of a conversation, without the Docker engine that other tests share."""
    pids = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    return [int(pid) for pid in pids if Path(f"/proc/{pid}/comm").read_text() not in ("dockerd\n", "containerd\n")]


def test_runner_half_does_not_load_the_sdk() -> None:
    code = (
        "import sys; from nanoclaw_provider_claude.runner import nanoclaw_runner_plugin as part;"
        " assert [offer.name for offer in part().providers] == ['claude'];"
        " sys.exit(any(name in sys.modules for name in ('claude_agent_sdk', 'mcp', 'nanoclaw_core', 'pluggy')))"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
    assert nanoclaw_runner_plugin().name == "claude"


def test_conversation_runs_two_turns_in_one_process(talk: Opening) -> None:
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


def test_resume_continues_with_new_instructions(talk: Opening) -> None:
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


def test_query_sends_model_and_effort(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="hello"), model="claude-opus-4-5", effort="low") as open_talk:
            await open_talk.outcome()
            [request] = open_talk.api.conversations
            assert request.body["model"] == "claude-opus-4-5"
            assert request.body["output_config"]["effort"] == "low"

    asyncio.run(scenario())


def test_unknown_continuation_is_stale(talk: Opening, context: ProviderContext) -> None:
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


def test_tools_return_results_and_errors_to_the_model(talk: Opening) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    tools = [
        Tool(name="greet", description="Greet a person", parameters=schema, run=_greet),
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


def test_running_tool_has_timeout_and_no_key(talk: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"):
        monkeypatch.setenv(name, "secret-of-the-host")
    steps = [Step(tool="Bash", input={"command": "env", "timeout": 90_000}), Step(text="done")]

    async def scenario() -> None:
        async with talk(*steps) as open_talk:
            await open_talk.outcome()
            assert open_talk.of(ToolStarted) == [ToolStarted(tool="Bash", timeout_s=90.0)]
            assert open_talk.of(ToolEnded) == [ToolEnded(tool="Bash")]
            output = open_talk.api.conversations[1].last_said
            assert f"ANTHROPIC_API_KEY={PLACEHOLDER_KEY}" in output
            assert "of-the-host" not in output

    asyncio.run(scenario())


def test_bash_tool_gets_path_and_variables_of_the_runner(talk: Opening, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ncl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "asked $1 at $NANOCLAW_NCL_SOCKET"\n', encoding="utf-8")
    program.chmod(0o700)
    environment = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "NANOCLAW_NCL_SOCKET": "/run/ncl.sock",
        "ANTHROPIC_API_KEY": "never-this-one",
    }

    async def scenario() -> str:
        steps = [Step(tool="Bash", input={"command": "ncl help; env"}), Step(text="done")]
        async with talk(*steps, environment=environment) as open_talk:
            await open_talk.outcome()
            output: str = open_talk.api.conversations[1].last_said
            return output

    output = asyncio.run(scenario())
    assert "asked help at /run/ncl.sock" in output
    assert "never-this-one" not in output


def test_terminal_only_tool_is_not_offered(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(tool="ScheduleWakeup", input={}), Step(text="done")) as open_talk:
            assert await open_talk.outcome() == Result(text="done", answers=[open_talk.first])
            assert not {"ScheduleWakeup", "AskUserQuestion"} & set(open_talk.api.conversations[0].tools)
            assert not open_talk.of(ToolStarted)

    asyncio.run(scenario())


def test_configured_mcp_server_offers_its_tools(talk: Opening, tmp_path: Path) -> None:
    program = tmp_path / "weather.py"
    program.write_text(STDIO_SERVER)
    servers = {"my weather": McpServer(command=sys.executable, args=[str(program)])}
    steps = [Step(tool="mcp__my_weather__forecast", input={"city": "Paris"}), Step(text="done")]

    async def scenario() -> None:
        async with talk(*steps, mcp_servers=servers) as open_talk:
            assert await open_talk.outcome() == Result(text="done", answers=[open_talk.first])
            assert "sunny in Paris" in open_talk.api.conversations[1].last_said

    asyncio.run(scenario())


def test_interrupt_ends_turn_without_text(talk: Opening) -> None:
    """The conversation goes on with the next push."""

    async def scenario() -> None:
        async with talk(Step(text="too long", hold=True), Step(text="better")) as open_talk:
            await open_talk.api.wait_for_requests(1)
            await open_talk.query.interrupt()
            assert await open_talk.outcome() == Result(text=None, answers=[open_talk.first])
            more = await open_talk.push("in short")
            assert await open_talk.outcome() == Result(text="better", answers=[more])

    asyncio.run(scenario())


def test_interrupt_before_program_start_is_not_lost(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="too long", hold=True)) as open_talk:
            await open_talk.query.interrupt()
            outcome = await open_talk.outcome()
            assert isinstance(outcome, Result)
            assert outcome.text is None

    asyncio.run(scenario())


def test_push_during_answer_becomes_its_own_turn(talk: Opening) -> None:
    """Also if the query is ended before that turn begins."""

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
    """The model reads the push with the result of its tool, so one answer covers both."""

    async def scenario() -> None:
        async with talk(Step(tool="Bash", input={"command": "sleep 0.5"}), Step(text="both")) as open_talk:
            await open_talk.until(ToolStarted)
            more = await open_talk.push("and more")
            assert await open_talk.outcome() == Result(text="both", answers=[open_talk.first, more])
            assert open_talk.of(TookIn)[-1] == TookIn(pushes=[open_talk.first, more])
            assert "and more" in open_talk.api.conversations[1].last_said

    asyncio.run(scenario())


def test_error_of_joined_turn_names_both_pushes(talk: Opening) -> None:
    """The platform fails after a push joined, so both messages have no answer."""

    async def scenario() -> None:
        async with talk(Step(tool="Bash", input={"command": "sleep 0.5"}), Step(error=529, times=0)) as open_talk:
            await open_talk.until(ToolStarted)
            more = await open_talk.push("and more")
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert error.answers == (open_talk.first, more)

    asyncio.run(scenario())


def test_cancelled_abort_leaves_no_process(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(Step(text="never", hold=True)) as open_talk:
            await open_talk.api.wait_for_requests(1)
            cancelled = asyncio.create_task(open_talk.query.abort())
            await asyncio.sleep(0)
            cancelled.cancel()
            await open_talk.query.abort()
            assert not _children()

    asyncio.run(scenario())


def test_abort_ends_events_and_leaves_no_process(talk: Opening) -> None:
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
def test_platform_error_is_one_error_of_its_class(
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


def test_dropped_connection_is_retried_then_an_error(talk: Opening) -> None:
    async def scenario() -> None:
        steps = Step(text="never whole", drop=True, times=0)
        async with talk(steps, options={"max_retries": "1"}) as open_talk:
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert (error.kind, error.retryable) == (ErrorClass.CONNECTION, True)
            assert open_talk.of(Progress)

    asyncio.run(scenario())


def test_killed_program_is_a_retryable_error(talk: Opening) -> None:
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


def test_sandbox_without_gateway_is_an_error(talk: Opening) -> None:
    async def scenario() -> None:
        async with talk(gateway_url=None) as open_talk:
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert "no model gateway" in error.message
            assert not error.retryable

    asyncio.run(scenario())


@pytest.mark.defect(number=10)
def test_compaction_is_archived_and_is_no_answer(talk: Opening, context: ProviderContext) -> None:
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
