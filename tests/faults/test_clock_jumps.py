"""The clock jumps between two hosts, backward or forward.

Every stored time is then too late or too early.
"""

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
from nanoclaw_core.testing.scripted import ScriptedRuntime, echo, unanswering

JUMPS = [timedelta(days=-2), timedelta(days=400)]  # the second is longer than any retention time
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
    """Move every time on disk against the jump, so that for the next host the clock has jumped."""
    for pattern, tables in TIMES.items():
        for path in instance.paths.home.glob(pattern):
            db = apsw.Connection(str(path))
            for table, columns in tables.items():
                for column in columns:
                    query = f"SELECT rowid, {column} FROM {table} WHERE {column} > '1970'"
                    for rowid, text in db.execute(query).fetchall():
                        moved = clock.to_text(clock.from_text(text) - by)
                        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (moved, rowid))
            db.close()


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("by", JUMPS, ids=["back", "forward"])
def test_accepted_message_is_answered_after_clock_jump(instance: Instance, by: timedelta) -> None:
    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(unanswering)) as running:
            await running.channel.say("hi")

    async def second() -> list[str]:
        async with running_host(instance) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    jump(instance, by)
    assert asyncio.run(second()) == ["echo: hi"]


@pytest.mark.parametrize("by", JUMPS, ids=["back", "forward"])
def test_queued_delivery_is_sent_after_clock_jump(instance: Instance, by: timedelta) -> None:
    """A delivery that waits for its next attempt does not wait until the clock catches up."""

    async def first() -> None:
        channel = RecorderChannel()
        channel.troubles = [RuntimeError("the platform is down")] * 2
        async with running_host(instance, channel=channel) as running:
            await channel.say("hi")
            await until(lambda: not channel.troubles)
            assert running.host.components.queues.backlog.unfinished(instance.sessions()[0].id)

    async def second() -> list[str]:
        async with running_host(soon) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    soon = make_instance(instance.paths.home, delivery_pauses_s=[0.1])
    instance.db.execute("UPDATE deliveries SET status = 'queued', next_try_at = ?", (clock.now_text(),))
    jump(instance, by)
    assert asyncio.run(second()) == ["echo: hi"]
    soon.db.close()


def test_message_with_future_time_is_answered_at_once(instance: Instance) -> None:
    """The platform's clock is 400 days ahead.

    The first host starts a sandbox at once, and the second one answers.
    """
    ahead = Inbound(room="room", text="hi", sender="ada", at=clock.now() + timedelta(days=400))

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(unanswering)) as running:
            await running.channel.pass_on(ahead)

    async def second() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(echo)) as running:
            return await running.channel.texts(1)

    asyncio.run(first())
    assert asyncio.run(second()) == ["echo: hi"]
