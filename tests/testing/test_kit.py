"""The parts of the test kit that no other test uses."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from nanoclaw_core import AlreadyRunning
from nanoclaw_core.tasks import run_forever
from nanoclaw_core.testing.fake_clock import START, FakeClock
from nanoclaw_core.testing.fake_messages_api import FakeMessagesApi


def test_fake_sleep_ends_after_enough_time(nanoclaw_clock: FakeClock) -> None:
    async def scenario() -> None:
        sleeping = asyncio.create_task(nanoclaw_clock.sleep(10))
        assert await nanoclaw_clock.asked(1) == [10]
        nanoclaw_clock.advance(9)
        await asyncio.sleep(0)
        assert not sleeping.done()
        nanoclaw_clock.advance(1)
        await sleeping

    asyncio.run(scenario())
    assert nanoclaw_clock.now() == START + timedelta(seconds=10)


def test_hurrying_clock_records_the_pauses() -> None:
    clock = FakeClock(hurries=True)

    async def part() -> None:
        if len(clock.pauses) == 3:
            raise asyncio.CancelledError
        raise ZeroDivisionError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_forever("mine", "part", part, sleep=clock.sleep))
    assert clock.pauses == [1.0, 2.0, 4.0]
    assert clock.now() == START + timedelta(seconds=7)


def test_host_fixture_works_without_an_event_loop(nanoclaw_instance, nanoclaw_host) -> None:
    nanoclaw_instance.wire()
    with nanoclaw_host() as running:
        running.run(running.channel.say("hello"))
        assert running.run(running.channel.texts(1)) == ["echo: hello"]


def test_host_fixture_raises_the_start_error(nanoclaw_host) -> None:
    with nanoclaw_host(), pytest.raises(AlreadyRunning), nanoclaw_host():
        raise AssertionError("two hosts on one directory")


def test_messages_api_fixture_serves_locally(nanoclaw_messages_api: FakeMessagesApi) -> None:
    assert nanoclaw_messages_api.url.startswith("http://127.0.0.1:")
