"""The clock jumps between two hosts, both ways: every time that was written before is then too early or too late."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import clock

from nanoclaw_core import Inbound
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

JUMPS = [timedelta(days=-2), timedelta(days=400)]  # forward beyond everything that is kept for a time
TIMES = {
    "data/nanoclaw.db": {
        "sessions": ["created_at", "due_at"],
        "deliveries": ["created_at", "updated_at", "next_try_at", "deliver_after", "retried_at"],
    },
    "sessions/*/in/inbound.db": {"messages_in": ["at", "process_after"]},
    "sessions/*/out/outbound.db": {"acknowledgements": ["changed_at"], "runner_state": ["updated_at"]},
}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "home", retry_pause_s=30.0, delivery_pauses_s=[0.1, 30.0])
    made.wire()
    yield made
    made.db.close()


def jump(instance: Instance, by: timedelta) -> None:
    """Move every time on disk against the jump: for a host that starts now it is as if the clock had been set."""
    for pattern, tables in TIMES.items():
        for path in instance.places.home.glob(pattern):
            db = apsw.Connection(str(path))
            for table, columns in tables.items():
                for column in columns:
                    query = f"SELECT rowid, {column} FROM {table} WHERE {column} > '1970'"
                    for rowid, text in db.execute(query).fetchall():
                        moved = clock.to_text(clock.from_text(text) - by)
                        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (moved, rowid))
            db.close()


async def never(runner: FakeRunner) -> int:
    await runner.take()
    await asyncio.Event().wait()
    return 0


@pytest.mark.parametrize("by", JUMPS, ids=["back", "forward"])
def test_invariant_04_what_was_accepted_before_a_jump_is_answered_after_it(instance: Instance, by: timedelta) -> None:
    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(never)) as running:
            await running.channel.say("hi")

    async def second() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    jump(instance, by)
    assert asyncio.run(second()) == ["echo: hi"]


@pytest.mark.parametrize("by", JUMPS, ids=["back", "forward"])
def test_a_delivery_that_waits_for_its_next_try_does_not_wait_for_the_clock(instance: Instance, by: timedelta) -> None:
    async def first() -> None:
        channel = RecorderChannel()
        channel.troubles = [RuntimeError("the platform is down")] * 2
        async with running_host(instance, channel=channel) as running:
            await channel.say("hi")
            await until(lambda: not channel.troubles)
            assert running.host.components.queues.backlog(instance.sessions()[0].id)

    async def second() -> list[str]:
        async with running_host(soon) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    soon = make_instance(instance.places.home, delivery_pauses_s=[0.1])
    instance.db.execute("UPDATE deliveries SET status = 'queued', next_try_at = ?", (clock.now_text(),))
    jump(instance, by)
    assert asyncio.run(second()) == ["echo: hi"]
    soon.db.close()


def test_a_message_from_the_platforms_future_is_answered_now_and_after_a_crash(instance: Instance) -> None:
    ahead = Inbound(room="room", text="hi", sender="ada", at=clock.now() + timedelta(days=400))

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(never)) as running:
            await running.channel.pass_on(ahead)

    async def second() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(echo)) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    assert asyncio.run(second()) == ["echo: hi"]
