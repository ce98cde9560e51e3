"""The real claude program on an exhausted machine: the runner exits, and its messages stay pending."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from machine_faults import no_descriptors
from nanoclaw_provider_claude.options import PLACEHOLDER_KEY
from nanoclaw_provider_claude.runner import ClaudeProvider
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderContext, ProviderOffer, RunnerPlugin, Tool
from nanoclaw_runner.runner import ExitCode, Runner
from nanoclaw_runner.testing import HostSide
from nanoclaw_wire.events import Error, ErrorClass, Result
from nanoclaw_wire.outbound import AckStatus

from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi
from nanoclaw_core.testing.messages_script import Step

Opening = Any  # the fixture of conftest.py: a function that gives an async context manager


def take_descriptors_of_program() -> None:
    """Prevent the running program from opening another file or socket."""
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, path.read_text().split()):
            if Path(f"/proc/{pid}/comm").read_text() == "claude\n":
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3))


def test_program_without_descriptors_is_exhausted(talk: Opening) -> None:
    """The connection drops in the second turn, and the program cannot open another one."""

    async def scenario() -> None:
        steps = [Step(text="hi"), Step(text="never whole", drop=True)]
        async with talk(*steps, options={"max_retries": "1"}) as open_talk:
            assert isinstance(await open_talk.outcome(), Result)
            take_descriptors_of_program()
            await open_talk.push("more")
            error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert (error.kind, "EMFILE" in error.message) == (ErrorClass.EXHAUSTED, True)

    asyncio.run(scenario())


def test_start_without_descriptors_is_exhausted(talk: Opening) -> None:
    """The SDK cannot start the program, and raises an error with a text of its own."""

    async def scenario() -> None:
        async with talk() as open_talk:
            with no_descriptors():
                error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert (error.kind, "Too many open files" in error.message) == (ErrorClass.EXHAUSTED, True)

    asyncio.run(scenario())


def test_archive_without_descriptors_is_exhausted(talk: Opening) -> None:
    """The compaction waits for the copy of the text, which a later runner can write."""

    async def scenario() -> None:
        steps = [Step(text="noted"), Step(text="<summary>short</summary>", when="summary", times=0)]
        async with talk(*steps) as open_talk:
            await open_talk.outcome()
            with no_descriptors():
                await open_talk.push("/compact")
                error = await open_talk.outcome()
            assert isinstance(error, Error)
            assert (error.kind, "not archived" in error.message) == (ErrorClass.EXHAUSTED, True)
            assert len(open_talk.api.conversations) == 1

    asyncio.run(scenario())


async def _write_to_full_disk(_arguments: Mapping[str, Any]) -> str:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)
    return "written"


async def _run_one_message(
    directory: Path, steps: list[Step], check: Callable[[HostSide, Runner, str], Awaitable[None]]
) -> None:
    """Run a runner with the real program and a tool that meets a full disk, and send it one message."""
    async with FakeMessagesApi(steps, key=PLACEHOLDER_KEY, prefix="/anthropic") as api:

        def connect(context: ProviderContext) -> ClaudeProvider:
            return ClaudeProvider(evolve(context, gateway_url=api.url, options={"max_retries": "0"}))

        tool = Tool(name="keep", description="Keep", parameters={}, run=_write_to_full_disk)
        offer = ProviderOffer(name="claude", connect=connect)
        part = RunnerPlugin(name="claude", providers=[offer], tools=lambda _host: [tool])
        async with HostSide(directory, provider="claude") as host:
            runner = Runner(
                workspace=host.workspace,
                config=host.config,
                plugins=RunnerPlugins(loaded=(part,)),
                environment={**os.environ, **host.environment()},
            )
            await check(host, runner, host.say("x"))


def test_tool_on_full_disk_ends_the_runner(tmp_path: Path) -> None:
    """The model does not see the error, so it cannot answer as if its file were at fault."""

    async def check(host: HostSide, runner: Runner, message: str) -> None:
        async with asyncio.timeout(60):
            assert await runner.run() is ExitCode.NO_ROOM
        assert host.acknowledged() == {message: AckStatus.PROCESSING}
        assert host.sent() == []

    steps = [Step(tool="mcp__nanoclaw__keep", input={}), Step(text='<message to="family">it failed</message>')]
    asyncio.run(_run_one_message(tmp_path, steps, check))


@pytest.mark.parametrize(
    "steps",
    [
        [Step(text='<message to="family">ENOSPC: no space left on device</message>')],
        [
            Step(tool="Bash", input={"command": "echo 'ENOSPC: no space left on device' >&2; exit 1"}),
            Step(text='<message to="family">it failed</message>'),
        ],
    ],
    ids=["answer", "command"],
)
def test_text_of_the_model_ends_no_runner(tmp_path: Path, steps: list[Step]) -> None:
    """The model and its commands may write anything. Only an error of the program itself counts."""

    async def check(host: HostSide, runner: Runner, message: str) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(runner.run())
            assert await host.settled(message) == [AckStatus.COMPLETED]
            runner.stop()
        assert running.result() is ExitCode.DONE

    asyncio.run(_run_one_message(tmp_path, steps, check))
