"""Tests of tools on an exhausted machine: the runner ends, and the model gives no half answer."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import pytest
from machine_faults import full_disk, no_descriptors
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin, Tool, ToolError
from nanoclaw_runner.runner import ExitCode, Runner
from nanoclaw_runner.testing import HostSide, said
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire.events import Init, Result
from nanoclaw_wire.exhaustion import is_out_of_memory
from nanoclaw_wire.outbound import AckStatus
from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE, short_path


def tool(run):
    return Tool(name="act", description="Act", parameters={}, run=run)


async def write_to_full_disk(_arguments):
    await asyncio.to_thread(Path("/dev/full").write_text, "x")


async def fail_with_tool_error(arguments):
    try:
        await write_to_full_disk(arguments)
    except OSError as error:
        raise ToolError("the file could not be written") from error


async def run_out_of_memory(_arguments):
    raise MemoryError


async def call(context, name, **arguments):
    """Call a tool as an SDK does, which reports every error to the model."""
    [tool] = [tool for tool in context.tools if tool.name == name]
    try:
        return await tool.run(arguments)
    except Exception as error:
        return f"{name} failed: {error}"


async def send_file_without_descriptors(context):
    (context.working_directory / "a.txt").write_text("a")
    with no_descriptors():
        return await call(context, "send_file", path="a.txt")


async def ask_ncl_on_full_disk(context):
    with short_path(context.environment[NCL_SOCKET_VARIABLE]) as path:
        reader, writer = await asyncio.open_unix_connection(path)
    frame = {"id": "1", "words": ["help"], "options": {}}
    with contextlib.closing(writer), full_disk():
        writer.write(json.dumps(frame).encode() + b"\n")
        return (await reader.readline()).decode()


class Query:
    """One turn that answers with the result of an action."""

    def __init__(self, context, action, push_id):
        self._context, self._action, self._push_id = context, action, push_id
        self._is_over = asyncio.Event()

    async def events(self):
        yield Init(continuation="c")
        text = await self._action(self._context)
        yield Result(text=f'<message to="family">{text}</message>', answers=[self._push_id])
        await self._is_over.wait()

    async def push(self, text, push_id):
        pass

    async def interrupt(self):
        pass

    async def end(self):
        self._is_over.set()

    async def abort(self):
        self._is_over.set()


class Provider:
    has_slash_commands = False

    def __init__(self, context, action):
        self._context, self._action = context, action

    async def query(self, _prompt, *, push_id, **_more):
        return Query(self._context, self._action, push_id)

    def is_stale(self, _error):
        return False

    async def close(self):
        pass


def acting_runner(host, action, tools=()):
    """Return a runner with a model that does one action in each turn."""
    offer = ProviderOffer(name="acting", connect=lambda context: Provider(context, action))
    return Runner(
        workspace=host.workspace,
        config=host.config,
        plugins=RunnerPlugins(loaded=(RunnerPlugin(name="acting", providers=[offer], tools=lambda _host: tools),)),
        environment=host.environment(),
        timeouts=Timeouts(),
    )


def act(context):
    return call(context, "act")


@pytest.mark.parametrize(
    ("action", "tools"),
    [
        (act, [tool(write_to_full_disk)]),
        (act, [tool(fail_with_tool_error)]),
        (send_file_without_descriptors, []),
        (ask_ncl_on_full_disk, []),
    ],
    ids=["plugin", "tool-error", "send_file", "ncl"],
)
def test_tool_on_full_disk_ends_the_runner(tmp_path, action, tools):
    """The message stays pending, and no answer that rests on the failed tool is stored."""

    async def run():
        async with HostSide(tmp_path, provider="acting", cli_scope="group") as host:
            message = host.say("x")
            async with asyncio.timeout(30):
                assert await acting_runner(host, action, tools).run() is ExitCode.NO_ROOM
            assert host.acknowledged() == {message: AckStatus.PROCESSING}
            assert host.sent() == []
            assert os.listdir(host.files.outbox) == []

    asyncio.run(run())


def test_tool_beyond_memory_fails_the_runner(tmp_path):
    """The host counts a try, because the same call would meet the limit each time."""

    async def run():
        async with HostSide(tmp_path, provider="acting") as host:
            message = host.say("x")
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.timeout(30):
                    await acting_runner(host, act, [tool(run_out_of_memory)]).run()
            assert is_out_of_memory(caught.value)
            assert host.acknowledged() == {message: AckStatus.PROCESSING}

    asyncio.run(run())


def test_send_file_unreadable_file_is_a_tool_error(tmp_path):
    """The model chooses the file, so one that fails with EIO must not restart sandboxes for ever."""
    script = [{"tools": [{"name": "send_file", "arguments": {"path": "/proc/self/mem"}}], "reply": "{results}"}]

    async def run():
        async with HostSide(tmp_path, options={"script": json.dumps(script)}) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert "could not be read: Input/output error" in said(host.sent()[-1])
            assert os.listdir(host.files.outbox) == []

    asyncio.run(run())
