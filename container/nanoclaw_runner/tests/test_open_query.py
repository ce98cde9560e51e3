"""Tests that an open query waits for no poll: a ring, a timer or the end of a turn continues it."""

import asyncio
import contextlib
import json
import os

import pytest
from attrs import evolve
from nanoclaw_runner.pending_prompts import SilenceTimeouts
from nanoclaw_runner.plugins import RunnerPlugins, load_installed
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.runner import ExitCode, Runner
from nanoclaw_runner.testing import HostSide
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire.events import Alive, Result
from nanoclaw_wire.outbound import AckStatus

WITHOUT_POLLS = Timeouts(
    bell_poll_s=600, heartbeat_s=0.01, silence=SilenceTimeouts(idle_s=600, active_s=600), turn_pauses_s=()
)
ECHO = {"echo": "true"}


def slow(text):
    return {"script": json.dumps([{"reply": text, "delay_s": 0.3}])}


class Model:
    """A provider that reports the events of the test."""

    has_slash_commands = False

    def __init__(self):
        self.pushes = []
        self.reports = asyncio.Queue()

    async def query(self, _prompt, push_id, **_more):
        self.pushes.append(push_id)
        return self

    async def push(self, _prompt, push_id):
        self.pushes.append(push_id)

    async def events(self):
        while (event := await self.reports.get()) is not None:
            yield event

    async def end(self):
        await self.reports.put(None)

    abort = interrupt = close = end


class WithoutEvents(Model):
    """A provider that opens a query whose events cannot begin."""

    def events(self):
        raise RuntimeError("no events")

    def is_stale(self, _error):
        return False


@contextlib.asynccontextmanager
async def running(tmp_path, model, timeouts=WITHOUT_POLLS):
    part = RunnerPlugin(name="x", providers=[ProviderOffer(name="model", connect=lambda _context: model)])
    host = HostSide(tmp_path, provider="model")
    async with host, host.running(plugins=RunnerPlugins(loaded=(part,)), timeouts=timeouts):
        yield host


def test_command_in_a_turn_runs_at_its_end(tmp_path):
    """No ring follows the command."""

    async def run():
        async with HostSide(tmp_path, options=slow("done")) as host, host.running(timeouts=WITHOUT_POLLS):
            first = host.say("first")
            await host.until(lambda: first in host.acknowledged())
            assert await host.settled(host.say("/clear")) == [AckStatus.COMPLETED]

    asyncio.run(run())


def test_more_rows_than_a_prompt_need_one_ring(tmp_path):
    """The rows make three prompts."""

    async def run():
        host = HostSide(tmp_path, options=ECHO, max_messages_per_prompt=2)
        async with host, host.running(timeouts=WITHOUT_POLLS):
            await host.settled(host.say("first"))
            messages = host.put_all([host.row('{"text": "x"}') for _ in range(5)])
            assert await host.settled(*messages) == [AckStatus.COMPLETED] * 5

    asyncio.run(run())


@pytest.mark.defect(number=7)
def test_more_rows_than_a_read_need_one_ring(tmp_path):
    """The first read has context and one message; it takes all of them, and the last message is not in it."""

    async def run():
        async with HostSide(tmp_path, options=ECHO) as host, host.running(timeouts=WITHOUT_POLLS):
            await host.settled(host.say("first"))
            context = [host.row('{"text": "x"}', trigger=False) for _ in range(255)]
            *_context, asks, last = host.put_all([*context, host.row('{"text": "y"}'), host.row('{"text": "z"}')])
            assert await host.settled(asks, last) == [AckStatus.COMPLETED] * 2

    asyncio.run(run())


def test_idle_time_counts_from_the_end_of_a_turn(tmp_path):
    """The runner waits for a ring when the turn ends, and leaves in time."""

    async def run():
        async with HostSide(tmp_path, options=slow("done"), idle_stop_s=0.2) as host:
            host.say("first")
            runner = Runner(
                workspace=host.workspace,
                config=host.config,
                plugins=load_installed(),
                environment=host.environment(),
                timeouts=WITHOUT_POLLS,
            )
            async with asyncio.timeout(30):
                assert await runner.run() is ExitCode.DONE
            assert host.sent()

    asyncio.run(run())


def test_silence_counts_from_the_end_of_a_turn(tmp_path):
    """The runner waits for a ring when a result leaves a message in doubt, and settles it in time."""

    async def run():
        model, timeouts = Model(), evolve(WITHOUT_POLLS, silence=SilenceTimeouts(idle_s=0.2))
        async with running(tmp_path, model, timeouts) as host:
            first = host.say("first")
            await host.until(lambda: len(model.pushes) == 1)
            second = host.say("second")
            await host.until(lambda: len(model.pushes) == 2)
            await model.reports.put(Result(text=None))
            assert await host.settled(first, second) == [AckStatus.COMPLETED] * 2

    asyncio.run(run())


def test_sign_of_life_between_turns_is_a_heartbeat(tmp_path):
    """The provider works in the background while no turn is open."""

    async def run():
        model = Model()
        async with running(tmp_path, model) as host:
            message = host.say("first")
            await host.until(lambda: model.pushes)
            await model.reports.put(Result(text=None, answers=model.pushes))
            await host.settled(message)
            os.utime(host.files.heartbeat, (0, 0))
            await model.reports.put(Alive())
            await host.until(lambda: host.files.heartbeat.stat().st_mtime > 0)

    asyncio.run(run())


def test_query_without_events_fails_its_turn(tmp_path):
    """The provider breaks its contract; the runner reports the failure and goes on."""

    async def run():
        async with running(tmp_path, WithoutEvents()) as host:
            assert await host.settled(host.say("first")) == [AckStatus.FAILED]
            assert await host.settled(host.say("second")) == [AckStatus.FAILED]

    asyncio.run(run())
