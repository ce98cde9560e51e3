"""Notices to the rooms that share a damaged session."""

import asyncio
from pathlib import Path

import pytest
from runner_scripts import answering
from session_damage import IN, OUT, TOLD, fill_with_garbage

from nanoclaw_core.sandboxes.quarantine import MAX_NOTICE_ROOMS
from nanoclaw_core.store.messaging import SessionMode
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.scripted import ScriptedRuntime, silent


def make_agent_shared_session(tmp_path: Path, rooms: int, *, answered: int, ids: bool) -> Instance:
    """Make a session that several rooms share.

    The first rooms have an answer, the others wait when the host stops.
    """
    instance = make_instance(tmp_path / "shared", start_pauses_s=[0.01])
    for number in range(rooms):
        instance.wire(room=f"a{number}", session_mode=SessionMode.AGENT_SHARED)

    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(answering(answered))) as running:
            for number in range(rooms):
                await running.channel.say("hi", room=f"a{number}", message_id=f"p-{number}" if ids else None)
            await running.channel.texts(answered)

    asyncio.run(scenario())
    return instance


def shared_file(instance: Instance, name: str) -> Path:
    (session,) = instance.sessions()
    return instance.paths.home / "sessions" / session.id / name


def rooms_told(instance: Instance, count: int) -> list[str]:
    """Start a host, wait for `count` messages, and return the rooms that got a notice of the damage."""

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.texts(count)
            await running.host.components.queues.drained()
            return sorted(
                delivered.address.room
                for delivered in running.channel.delivered
                if delivered.message.text.startswith(TOLD)
            )

    return asyncio.run(scenario())


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("answered", [0, 1])
def test_damaged_inbound_db_is_told_to_each_room(tmp_path: Path, answered: int, ids: bool) -> None:
    """Several rooms share the session, and its waiting messages are lost.

    Each room must send its own again (F10).
    """
    instance = make_agent_shared_session(tmp_path, 3, answered=answered, ids=ids)
    fill_with_garbage(shared_file(instance, IN))
    assert rooms_told(instance, 3) == ["a0", "a1", "a2"]
    instance.db.close()


@pytest.mark.invariant(number=4)
def test_damaged_outbound_db_is_told_to_each_room(tmp_path: Path) -> None:
    """Each room that shares the session reads once that its conversation starts afresh."""
    instance = make_agent_shared_session(tmp_path, 3, answered=1, ids=True)
    fill_with_garbage(shared_file(instance, OUT))
    assert rooms_told(instance, 3) == ["a0", "a1", "a2"]
    instance.db.close()


def test_damage_is_told_to_a_bounded_number_of_rooms(tmp_path: Path) -> None:
    """A session of hundreds of rooms must not make the host flood its channels."""
    instance = make_agent_shared_session(tmp_path, MAX_NOTICE_ROOMS + 3, answered=0, ids=True)
    fill_with_garbage(shared_file(instance, IN))
    assert len(rooms_told(instance, MAX_NOTICE_ROOMS)) == MAX_NOTICE_ROOMS
    instance.db.close()


def test_each_room_reads_the_fate_of_its_own_messages(tmp_path: Path) -> None:
    """One room waits for its answer and another has it: only the first reads that it will get one."""
    instance = make_agent_shared_session(tmp_path, 2, answered=1, ids=True)
    fill_with_garbage(shared_file(instance, OUT))

    async def scenario() -> dict[str, str]:
        async with running_host(instance, runtime=ScriptedRuntime(silent)) as running:
            await running.channel.texts(2)
            return {delivered.address.room: delivered.message.text for delivered in running.channel.delivered}

    texts = asyncio.run(scenario())
    assert "I will still answer" not in texts["a0"]
    assert "I will still answer" in texts["a1"]
    instance.db.close()
