"""A machine without room: a turn that meets ENOSPC, EMFILE or the like ends the runner, and loses nothing."""

import asyncio
import errno
import os

import pytest
from nanoclaw_runner.patience import Patience
from nanoclaw_runner.plugins import Parts
from nanoclaw_runner.provider import ProviderOffer, RunnerPart
from nanoclaw_runner.runner import ExitCode, Runner
from nanoclaw_runner.testing import HostSide
from nanoclaw_wire.exhaustion import is_out_of_memory
from nanoclaw_wire.outbound import AckStatus


def write_to_full_disk():
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


def run_out_of_memory():
    raise MemoryError


def fail_in_an_sdk():
    try:
        write_to_full_disk()
    except OSError as error:
        raise RuntimeError("the SDK failed") from error


class Query:
    """A query whose events fail."""

    def __init__(self, fail):
        self._fail = fail

    async def events(self):
        self._fail()
        yield

    async def push(self, text, push_id):
        pass

    async def interrupt(self):
        pass

    async def end(self):
        pass

    async def abort(self):
        pass


class Provider:
    """Fails in a query's events, or before there is a query."""

    has_slash_commands = False

    def __init__(self, fail, *, opens):
        self._fail, self._opens = fail, opens

    async def query(self, _prompt, **_more):
        if not self._opens:
            self._fail()
        return Query(self._fail)

    def is_stale(self, _error):
        return False

    async def close(self):
        pass


def failing_runner(host, fail, *, opens):
    """Return a runner whose provider fails."""
    offer = ProviderOffer(name="full", connect=lambda _context: Provider(fail, opens=opens))
    return Runner(
        workspace=host.workspace,
        config=host.config,
        parts=Parts(loaded=(RunnerPart(name="x", providers=[offer]),)),
        environment=host.environment(),
        patience=Patience(retry_delays_s=(0.01,)),
    )


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("fail", [write_to_full_disk, fail_in_an_sdk])
def test_full_disk_in_a_turn_ends_the_runner(tmp_path, fail, opens):
    """It leaves with a code of its own; the message stays pending, and people read nothing."""

    async def run():
        async with HostSide(tmp_path, provider="full") as host:
            message = host.say("x")
            async with asyncio.timeout(30):
                assert await failing_runner(host, fail, opens=opens).run() is ExitCode.NO_ROOM
            assert host.acknowledged() == {message: AckStatus.PROCESSING}
            assert host.sent() == []

    asyncio.run(run())


def test_prompt_beyond_memory_fails_the_runner(tmp_path):
    """The host counts a try: a prompt that never fits must not start sandboxes for ever."""

    async def run():
        async with HostSide(tmp_path, provider="full") as host:
            host.say("x")
            with pytest.raises((MemoryError, ExceptionGroup)) as caught:
                async with asyncio.timeout(30):
                    await failing_runner(host, run_out_of_memory, opens=True).run()
            assert is_out_of_memory(caught.value)

    asyncio.run(run())


def test_other_error_of_the_system_fails_the_turn(tmp_path):
    """A program that is missing stays missing: people are told at once."""

    def missing():
        raise OSError(errno.ENOENT, "no such program")

    async def run():
        async with HostSide(tmp_path, provider="broken") as host:
            offer = ProviderOffer(name="broken", connect=lambda _context: Provider(missing, opens=True))
            async with host.running(parts=Parts(loaded=(RunnerPart(name="x", providers=[offer]),))):
                assert await host.settled(host.say("x")) == [AckStatus.FAILED]

    asyncio.run(run())
