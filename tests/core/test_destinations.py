"""Whom an agent may write to: its own conversation, and the rooms that it is wired to (⚠17)."""

import asyncio

from nanoclaw_wire import inbound
from nanoclaw_wire.inbound import Destination

from nanoclaw_core import Address
from nanoclaw_core.routing.conversations import Place, addresses_of
from nanoclaw_core.routing.router import NAMED_AT_MOST
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

HERE = Address("recorder", "room")


def names(*wired: Place, room_name: str | None = "Family") -> dict[str, tuple[str | None, str | None]]:
    session = Session(agent_group_id="ag-1", messaging_group_id="mg-1", conversation="room:mg-1")  # type: ignore[arg-type]
    found = addresses_of(session, HERE, room_name, wired).destinations
    return {one.name: (one.channel, one.room) for one in found}


def room(name: str, shown: str | None = None, channel: str = "recorder") -> Place:
    return channel, name, shown


def test_its_own_conversation_comes_first_and_once() -> None:
    assert names(room("kitchen", "Kitchen"), room("room", "Family")) == {
        "family": ("recorder", "room"),
        "kitchen": ("recorder", "kitchen"),
    }


def test_two_rooms_of_one_name_are_told_apart() -> None:
    assert list(names(room("a", "Family"), room("b", "Family"))) == ["family", "family-2", "family-3"]


def test_a_room_without_a_name_goes_by_its_channel() -> None:
    assert names(room("c1", channel="slack"), room_name=None) == {
        "recorder": ("recorder", "room"),
        "slack": ("slack", "c1"),
    }


def test_a_number_that_was_added_hides_no_room_that_is_called_so() -> None:
    found = names(room("a", "Family 3"), room("b", "Family"), room("c", "Family"))
    assert sorted(str(place) for _, place in found.values()) == ["a", "b", "c", "room"]


def test_warning_17_what_is_written_to_a_room_that_was_wired_since_arrives_there(instance: Instance) -> None:
    told: list[list[Destination]] = []

    async def messenger(runner: FakeRunner) -> int:
        while True:
            messages = await runner.take()
            told.append(inbound.destinations(runner.received))
            runner.write({"text": "dinner"}, done=messages, channel="recorder", room="kitchen")

    async def scenario() -> list[tuple[str, str]]:
        async with running_host(instance, runtime=ScriptedRuntime(messenger)) as running:
            instance.wire(room="kitchen")
            await running.channel.say("call them")
            await running.channel.texts(1)
            return [(one.address.room, one.message.text) for one in running.channel.delivered]

    assert asyncio.run(scenario()) == [("kitchen", "dinner")]
    assert [one.room for one in told[0]] == ["room", "kitchen"]


def test_an_agent_with_very_many_rooms_is_told_of_the_oldest(instance: Instance) -> None:
    told: list[list[Destination]] = []

    async def listener(runner: FakeRunner) -> int:
        messages = await runner.take()
        told.append(inbound.destinations(runner.received))
        runner.answer(messages, "heard")
        await asyncio.Event().wait()
        return 0

    async def scenario() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(listener)) as running:
            await running.channel.say("hello")
            await running.channel.texts(1)

    for number in range(NAMED_AT_MOST + 5):
        instance.wire(room=f"room {number:03}")
    asyncio.run(scenario())
    assert len(told[0]) == NAMED_AT_MOST
    assert told[0][0].room == "room"
