"""An agent that never has room on its disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nanoclaw_wire.exhaustion import EXIT_NO_ROOM
from simulated_time import simulated_time

from nanoclaw_core.sandboxes.notices import NOT_NOW
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime
from nanoclaw_core.timing import Timing

AN_HOUR_S = 3_600.0


@pytest.mark.invariant(number=12)
def test_message_without_room_is_given_up_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that fills its disk each time must not run for ever.

    People are told after a day.
    """
    lives = 0

    async def fills_disk(runner: FakeRunner) -> int:
        nonlocal lives
        lives += 1
        await runner.take()
        return EXIT_NO_ROOM

    async def scenario(instance: Instance) -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(fills_disk)) as running:
            await running.channel.say("hi")
            await asyncio.sleep(1.3 * Timing().no_room_wait_s)
            return await running.channel.texts(2)

    instance = make_instance(tmp_path / "home", start_pauses_s=[AN_HOUR_S])
    instance.wire()
    with simulated_time(monkeypatch) as loop:
        told, given_up = loop.run_until_complete(scenario(instance))
    assert told.startswith(NOT_NOW)
    assert given_up.startswith("I am sorry, I could not answer this message")
    assert lives > Timing().no_room_wait_s / AN_HOUR_S
    instance.db.close()
