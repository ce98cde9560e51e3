"""A model that is silent for minutes, with a real host and runner in simulated time on a tmpfs."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderContext, ProviderOffer, RunnerPlugin
from nanoclaw_runner.runner import Runner
from nanoclaw_runner.workspace import Workspace
from nanoclaw_wire.config import read_config
from nanoclaw_wire.events import Error, Init, Result, ToolStarted
from nanoclaw_wire.outbound import AckStatus
from simulated_time import simulated_time

from nanoclaw_core.testing.hosting import Running, running_host
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime
from nanoclaw_core.timing import Timing

MINUTE_S = 60.0
HANGS_S = 30 * 24 * 60 * MINUTE_S
TMPFS = Path("/dev/shm")


class SilentModel:
    """A provider that is silent for a time, and then answers each prompt.

    Args:
        thinks_s: The time from a prompt to the first byte.
        tool_timeout_s: The timeout of a tool that runs meanwhile, or None if no tool runs.
        joins: True answers all earlier prompts in one turn. False gives each prompt a turn of its own.
        is_hung: True if the first query never answers.
    """

    has_slash_commands = False

    def __init__(
        self,
        *,
        thinks_s: float = 10 * MINUTE_S,
        tool_timeout_s: float | None = None,
        joins: bool = False,
        is_hung: bool = False,
    ) -> None:
        self.calls: list[str] = []  # the first prompt of each query
        self._thinks_s, self._tool_timeout_s, self._joins, self._is_hung = thinks_s, tool_timeout_s, joins, is_hung

    async def sandbox(self, fake: FakeRunner) -> int:
        """Run a real runner on the files of a scripted sandbox."""
        workspace = Workspace(files=fake.files, agent=fake.files.outgoing, extra=fake.files.outgoing / "extra")
        part = RunnerPlugin(name="x", providers=[ProviderOffer(name="scripted", connect=self._connect)])
        config = read_config(fake.files.config.read_text(encoding="utf-8"))
        plugins = RunnerPlugins(loaded=(part,))
        return await Runner(workspace=workspace, config=config, plugins=plugins, environment={}).run()

    async def query(self, prompt: str, **_more: Any) -> "SilentQuery":
        self.calls.append(prompt)
        is_hung = self._is_hung and len(self.calls) == 1
        thinks_s = HANGS_S if is_hung else self._thinks_s
        return SilentQuery(prompt, thinks_s=thinks_s, tool_timeout_s=self._tool_timeout_s, joins=self._joins)

    def is_stale(self, _error: Error) -> bool:
        return False

    async def close(self) -> None:
        pass

    def _connect(self, _context: ProviderContext) -> "SilentModel":
        return self


class SilentQuery:
    """One open conversation of a `SilentModel`."""

    def __init__(self, prompt: str, *, thinks_s: float, tool_timeout_s: float | None, joins: bool) -> None:
        self._prompts: asyncio.Queue[str | None] = asyncio.Queue()
        self._prompts.put_nowait(prompt)
        self._thinks_s, self._tool_timeout_s, self._joins = thinks_s, tool_timeout_s, joins

    async def events(self) -> Any:
        while (prompt := await self._prompts.get()) is not None:
            yield Init(continuation="c")
            if self._tool_timeout_s is not None:
                yield ToolStarted(tool="Bash", timeout_s=self._tool_timeout_s)
            await asyncio.sleep(self._thinks_s)
            while self._joins and not self._prompts.empty():
                prompt += self._prompts.get_nowait() or ""
            heard = [word for word in ("slow", "hello?") if word in prompt]
            yield Result(text="".join(f'<message to="recorder">to {word}</message>' for word in heard))

    async def push(self, text: str, _push_id: str) -> None:
        await self._prompts.put(text)

    async def end(self) -> None:
        await self._prompts.put(None)

    abort = interrupt = end


@pytest.fixture
def instance_on_tmpfs() -> Iterator[Instance]:
    """Yield an instance with syncs that take no time, so that a heartbeat follows a claim within one clock tick."""
    if not os.access(TMPFS, os.W_OK) or f" {TMPFS} tmpfs " not in Path("/proc/mounts").read_text(encoding="utf-8"):
        pytest.skip(f"{TMPFS} is no tmpfs that can be written to")
    with tempfile.TemporaryDirectory(dir=TMPFS) as directory:
        made = make_instance(Path(directory) / "home")
        made.wire()
        yield made
        made.db.close()


def beat_age_s(running: Running) -> float:
    """Return the seconds since the runner's last heartbeat."""
    [session] = running.instance.sessions()
    beat_at = running.host.components.mailbox.outbox.heartbeat_at(session.id)
    assert beat_at is not None
    return time.time() - beat_at


def acknowledged(running: Running) -> list[AckStatus]:
    [session] = running.instance.sessions()
    return [ack.status for ack in running.host.components.mailbox.outbox.acknowledgements(session.id, 0)]


@pytest.mark.parametrize("joins", [False, True], ids=["a turn each", "one turn"])
def test_silent_model_is_called_once_and_answers(
    instance_on_tmpfs: Instance, monkeypatch: pytest.MonkeyPatch, joins: bool
) -> None:
    """The first byte arrives after ten minutes, and a second message earlier.

    The host restarts nothing.
    """
    model = SilentModel(joins=joins)

    async def scenario() -> list[str]:
        async with running_host(instance_on_tmpfs, runtime=ScriptedRuntime(model.sandbox)) as running:
            await running.channel.say("slow")
            await asyncio.sleep(6)
            await running.channel.say("hello?")
            await asyncio.sleep(25 * MINUTE_S)
            assert len(running.runtime.sandboxes) == 1
            assert acknowledged(running) == [AckStatus.COMPLETED, AckStatus.COMPLETED]
            return [sent.message.text for sent in running.channel.delivered]

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == ["to slow", "to hello?"]
    assert len(model.calls) == 1


def test_queued_message_stays_claimed_while_model_is_silent(
    instance_on_tmpfs: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second turn is as silent as the first.

    If the runner crashes before its end, the message must return.
    """
    model = SilentModel()

    async def scenario() -> list[AckStatus]:
        async with running_host(instance_on_tmpfs, runtime=ScriptedRuntime(model.sandbox)) as running:
            await running.channel.say("slow")
            await asyncio.sleep(6)
            await running.channel.say("hello?")
            await asyncio.sleep(19 * MINUTE_S)
            return acknowledged(running)

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == [AckStatus.PROCESSING, AckStatus.COMPLETED]


def test_runner_beats_while_model_is_silent_and_not_after(
    instance_on_tmpfs: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer beats while a turn is open, so that people see the agent work.

    An idle runner does not beat.
    """
    model = SilentModel()

    async def scenario() -> tuple[float, float]:
        async with running_host(instance_on_tmpfs, runtime=ScriptedRuntime(model.sandbox)) as running:
            await running.channel.say("slow")
            await asyncio.sleep(9 * MINUTE_S)
            at_work_s = beat_age_s(running)
            await asyncio.sleep(9 * MINUTE_S)
            return at_work_s, beat_age_s(running)

    with simulated_time(monkeypatch) as loop:
        at_work_s, at_rest_s = loop.run_until_complete(scenario())
    assert (at_work_s < Timing().typing_alive_s, at_rest_s > 7 * MINUTE_S) == (True, True)


def test_hung_provider_is_asked_again_after_half_an_hour(
    instance_on_tmpfs: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner beats, so the host cannot see that the provider hangs.

    The runner fails the turn and retries it.

    A message that arrives meanwhile does not delay the retry.
    """
    model = SilentModel(is_hung=True, joins=True)

    async def scenario() -> list[str]:
        async with running_host(instance_on_tmpfs, runtime=ScriptedRuntime(model.sandbox)) as running:
            await running.channel.say("slow")
            await asyncio.sleep(29 * MINUTE_S)
            assert len(model.calls) == 1
            await running.channel.say("hello?")
            await asyncio.sleep(2 * MINUTE_S)
            assert len(model.calls) == 2
            await asyncio.sleep(20 * MINUTE_S)
            assert len(running.runtime.sandboxes) == 1
            return [sent.message.text for sent in running.channel.delivered]

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == ["to slow", "to hello?"]


def test_tool_that_asked_for_longer_is_waited_for(instance_on_tmpfs: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither host nor runner mistakes a tool with a timeout of 40 minutes, after 35, for a hung provider."""
    model = SilentModel(thinks_s=35 * MINUTE_S, tool_timeout_s=40 * MINUTE_S)

    async def scenario() -> list[str]:
        async with running_host(instance_on_tmpfs, runtime=ScriptedRuntime(model.sandbox)) as running:
            await running.channel.say("slow")
            await asyncio.sleep(36 * MINUTE_S)
            return [sent.message.text for sent in running.channel.delivered]

    with simulated_time(monkeypatch) as loop:
        assert loop.run_until_complete(scenario()) == ["to slow"]
    assert len(model.calls) == 1
