"""A message that its platform offers again is accepted once, also if its session was closed or quarantined."""

import asyncio
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from nanoclaw_wire import clock
from runner_scripts import answering

from nanoclaw_core import NanoclawError, Outcome
from nanoclaw_core.operations import HostOperations
from nanoclaw_core.store import accepted, sessions
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.sweep import ACCEPTED_KEPT
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import ScriptedRuntime


def session_of(instance: Instance, folder: str = "agent") -> Session:
    session = sessions.find(instance.db, instance.group(folder).id, f"room:{instance.room().id}")
    assert session is not None
    return session


def file_of(instance: Instance, name: str) -> Path:
    return instance.paths.home / "sessions" / session_of(instance).id / name


async def close(running: Running, folder: str = "agent") -> None:
    await HostOperations(running.host.components).close_session(session_of(running.instance, folder).id, force=True)


def rows_stored(instance: Instance) -> int:
    db = apsw.Connection(str(file_of(instance, "in/inbound.db")), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        count: int = db.execute("SELECT count(*) FROM messages_in").get
        return count
    finally:
        db.close()


@pytest.mark.invariant(number=3)
def test_message_offered_again_after_close_is_accepted_once(instance: Instance) -> None:
    """The operator closes the session.

    The platform offers an answered message again and gets its receipt.
    """

    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.texts(1)
            await close(running)
            assert (await running.channel.say("one", message_id="p-1")).outcome is Outcome.ROUTED
            await running.channel.say("two", message_id="p-2")
            assert await running.channel.texts(2) == ["echo: one", "echo: two"]

    asyncio.run(scenario())


@pytest.mark.invariant(number=3)
def test_offered_again_after_close_and_restart_accepted_once(instance: Instance) -> None:
    """The host died before its acknowledgement arrived.

    The next host still knows the message.
    """

    async def first() -> None:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.texts(1)
            await close(running)

    async def second() -> int:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            return len(running.runtime.specs)

    asyncio.run(first())
    assert asyncio.run(second()) == 0
    assert instance.sessions() == []


@pytest.mark.invariant(number=3)
@pytest.mark.parametrize("name", ["in/inbound.db", "out/outbound.db"])
def test_offered_again_after_quarantine_is_accepted_once(instance: Instance, name: str) -> None:
    """A file of the session is damaged after the answer.

    The platform offers the answered message again.
    """

    async def first() -> None:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.texts(1)

    async def second() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("two", message_id="p-2")
            await running.channel.texts(2)
            await running.channel.say("one", message_id="p-1")
            await running.channel.say("three", message_id="p-3")
            return await running.channel.texts(3)

    asyncio.run(first())
    file_of(instance, name).write_bytes(b"no database at all" * 500)
    texts = asyncio.run(second())
    assert sorted(texts[1:] if texts[0].startswith("The files") else texts[:1] + texts[2:]) == [
        "echo: three",
        "echo: two",
    ]


@pytest.mark.invariant(number=4)
def test_message_lost_with_inbound_db_may_be_offered_again(instance: Instance) -> None:
    """The message has no answer, and inbound.db is unreadable.

    The message is answered if it is offered again.
    """

    async def first() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(answering(1))) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.texts(1)
            await running.channel.say("two", message_id="p-2")

    async def second() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.texts(1)
            await running.channel.say("one", message_id="p-1")
            await running.channel.say("two", message_id="p-2")
            return await running.channel.texts(2)

    asyncio.run(first())
    file_of(instance, "in/inbound.db").write_bytes(b"")
    notice, answer = asyncio.run(second())
    assert "please send it again" in notice
    assert answer == "echo: two"


@pytest.mark.invariant(number=4)
def test_wiring_that_failed_gets_the_offered_message(instance: Instance) -> None:
    """One of two agents could not store the message.

    If it is offered again, only that agent receives it.
    """
    instance.wire(folder="other")

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.texts(2)
            blocked = instance.paths.home / "sessions" / session_of(instance, "other").id / "in" / "inbound.db"
            running.host.components.mailbox.release(session_of(instance, "other").id)
            aside = blocked.with_suffix(".moved")
            blocked.rename(aside)
            blocked.mkdir()  # cannot be opened, and no check can call it damaged
            with pytest.raises(NanoclawError):
                await running.channel.say("two", message_id="p-2")
            blocked.rmdir()
            aside.rename(blocked)
            await running.channel.texts(3)
            await close(running)
            await running.channel.say("two", message_id="p-2")
            return await running.channel.texts(4)

    assert asyncio.run(scenario()) == ["echo: one", "echo: one", "echo: two", "echo: two"]
    assert [session.agent_group_id for session in instance.sessions()] == [instance.group("other").id]


@pytest.mark.invariant(number=4)
def test_accepted_record_without_its_row_stores_again(instance: Instance) -> None:
    """A restored inbound.db lacks a message that the central database knows.

    If offered again, it is stored.
    """

    async def first() -> None:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.texts(1)
            before.append(file_of(instance, "in/inbound.db").read_bytes())
            await running.channel.say("two", message_id="p-2")
            await running.channel.texts(2)

    async def second() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("two", message_id="p-2")
            await until(lambda: instance.db.execute("SELECT due_at FROM sessions").get is not None)
            return [session.id for session in instance.sessions()]

    before: list[bytes] = []
    asyncio.run(first())
    file_of(instance, "in/inbound.db").write_bytes(before[0])
    asyncio.run(second())
    assert rows_stored(instance) == 2


@pytest.mark.invariant(number=4)
def test_stored_but_unrecorded_message_is_stored_once(instance: Instance) -> None:
    """A crash between store and record leaves only the row in inbound.db, which prevents a second one."""

    async def scenario() -> list[str]:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.texts(1)
            instance.db.execute("DELETE FROM accepted_messages")
            await running.channel.say("one", message_id="p-1")
            await running.channel.say("two", message_id="p-2")
            return await running.channel.texts(2)

    assert asyncio.run(scenario()) == ["echo: one", "echo: two"]
    assert rows_stored(instance) == 2


def test_sweep_forgets_old_accepted_messages(instance: Instance) -> None:
    """Records that are too old to be offered again leave the central database."""

    async def scenario() -> None:
        async with running_host(instance) as running:
            await running.channel.say("one", message_id="p-1")
            await running.channel.say("two", message_id="p-2")
            old = clock.to_text(clock.now() - ACCEPTED_KEPT - timedelta(seconds=1))
            instance.db.execute("UPDATE accepted_messages SET accepted_at = ? WHERE rowid = 1", (old,))
            await running.host.components.sweeper.once()

    asyncio.run(scenario())
    assert instance.db.execute("SELECT count(*) FROM accepted_messages").get == 1


def test_prune_of_accepted_messages_has_a_limit(instance: Instance) -> None:
    """A host that was off for a long time prunes in batches, so that other work does not wait."""
    row = {"agent_group_id": instance.group().id, "session_id": "ses-1", "channel": "recorder", "room": "room"}
    for number in range(3):
        accepted.record(
            instance.db,
            accepted.Accepted(
                message_id=f"in-{number}",
                correlation_id="msg-1",
                accepted_at=f"2020-01-0{number + 1}T00:00:00.000Z",
                **row,
            ),
        )
    assert accepted.prune(instance.db, "2021-01-01T00:00:00.000Z", limit=2) == 2
    assert [message_id for (message_id,) in instance.db.execute("SELECT message_id FROM accepted_messages")] == ["in-2"]
