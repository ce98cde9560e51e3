"""The destinations of an agent: which rooms it may write to, and under which permanent names (I15, ⚠17)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.inbound import Destination

from nanoclaw_core.ids import GroupId, MessagingGroupId
from nanoclaw_core.store import messaging
from nanoclaw_core.store.connection import open_central
from nanoclaw_core.store.destinations import MAX_DESTINATIONS, named_rooms
from nanoclaw_core.store.messaging import MessagingGroup, SessionMode, Wiring
from nanoclaw_core.store.migrations import migrate_core
from nanoclaw_core.store.schema import core_migrations
from nanoclaw_core.testing.hosting import Running, running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, silent

Rooms = dict[str, str | None]
AT = "2026-01-05T15:04:00.000Z"


def room(instance: Instance, room_id: str, name: str | None = None, **wiring: object) -> Wiring:
    """Make a room with a name and wire it."""
    messaging.add(instance.db, MessagingGroup(channel="recorder", room=room_id, name=name))
    return instance.wire(room=room_id, **wiring)


def unwire(instance: Instance, wiring: Wiring) -> None:
    instance.db.execute("DELETE FROM wirings WHERE id = ?", (wiring.id,))


def listed(instance: Instance, session_id: str) -> list[Destination]:
    """Return the destinations that a session's inbound.db lists."""
    path = instance.paths.home / "sessions" / session_id / "in" / "inbound.db"
    with contextlib.closing(session_files.open_readable(path)) as db:
        return inbound.destinations(db)


def destinations_of(instance: Instance, session_id: str) -> Rooms:
    """Return the room of each destination name in a session's inbound.db."""
    return {destination.name: destination.room for destination in listed(instance, session_id)}


def session_in(instance: Instance, room_id: str) -> str:
    group_id = instance.room(room_id).id
    return next(session.id for session in instance.sessions() if session.messaging_group_id == group_id)


def talk(
    instance: Instance, script: Callable[[Running], Awaitable[None]], channel: RecorderChannel | None = None
) -> None:
    """Let people write to agents that never answer."""

    async def scenario() -> None:
        async with running_host(instance, channel=channel, runtime=ScriptedRuntime(silent)) as running:
            await script(running)

    asyncio.run(scenario())


def destinations_after_writing(instance: Instance, *rooms: str) -> Rooms:
    """Write to rooms in order; return the destinations of the last room's session."""

    async def script(running: Running) -> None:
        for room_id in rooms:
            await running.channel.say("hello", room=room_id)

    talk(instance, script)
    return destinations_of(instance, session_in(instance, rooms[-1]))


# One name, one room


@pytest.mark.invariant(number=15)
def test_sessions_of_an_agent_agree_on_every_name(bare_instance: Instance) -> None:
    """Two rooms are called Family.

    A name that the agent noted in one session is valid in the other.
    """
    room(bare_instance, "a", "Family")
    room(bare_instance, "b", "Family")
    in_a, in_b = destinations_after_writing(bare_instance, "a"), destinations_after_writing(bare_instance, "b")
    assert in_a == in_b == {"family": "a", "family-2": "b"}


@pytest.mark.invariant(number=15)
def test_agent_shared_session_keeps_its_names(bare_instance: Instance) -> None:
    """Bob writes in b while the agent works for Ann in a: `family` still means a."""
    for room_id in ("a", "b"):
        room(bare_instance, room_id, "Family", session_mode=SessionMode.AGENT_SHARED)
    shared: list[Rooms] = []

    async def script(running: Running) -> None:
        for room_id in ("a", "b", "a"):
            await running.channel.say("hello", room=room_id)
            (session,) = bare_instance.sessions()
            shared.append(destinations_of(bare_instance, session.id))

    talk(bare_instance, script)
    assert shared == [{"family": "a", "family-2": "b"}] * 3


@pytest.mark.invariant(number=15)
def test_later_room_gets_a_number_and_keeps_it(bare_instance: Instance) -> None:
    """The first Family is unwired: the second keeps its number.

    A third does not get the free name.
    """
    first = room(bare_instance, "a", "Family")
    destinations_after_writing(bare_instance, "a")
    room(bare_instance, "b", "Family")
    assert destinations_after_writing(bare_instance, "b") == {"family": "a", "family-2": "b"}
    unwire(bare_instance, first)
    room(bare_instance, "c", "Family")
    assert destinations_after_writing(bare_instance, "c") == {"family-2": "b", "family-3": "c"}


@pytest.mark.invariant(number=15)
def test_renamed_room_changes_only_its_display_name(bare_instance: Instance) -> None:
    """The platform renames the room; its old name still reaches it."""
    room(bare_instance, "a", "Family")

    async def script(running: Running) -> None:
        await running.channel.say("hello", room="a")
        await running.channel.say("hello", room="a", room_name="Work")

    talk(bare_instance, script)
    session = session_in(bare_instance, "a")
    assert destinations_of(bare_instance, session) == {"family": "a"}
    assert [destination.display_name for destination in listed(bare_instance, session)] == ["Work"]


@pytest.mark.invariant(number=15)
def test_refused_message_renames_no_room(bare_instance: Instance) -> None:
    """A stranger calls the room Work to receive the messages for the real Work."""
    room(bare_instance, "a", "Family")
    room(bare_instance, "w", "Work")
    channel = RecorderChannel(refused=["eve"])

    async def script(running: Running) -> None:
        await running.channel.say("hi", room="a", sender="eve", room_name="Work")
        await running.channel.say("hello", room="w")

    talk(bare_instance, script, channel)
    assert bare_instance.room("a").name == "Family"
    assert destinations_of(bare_instance, session_in(bare_instance, "w")) == {"family": "a", "work": "w"}


def test_unwired_room_keeps_its_first_name(bare_instance: Instance) -> None:
    """No agent admits messages to an unwired room, so no message renames it."""

    async def script(running: Running) -> None:
        await running.channel.say("@bot", room="a", is_mention=True, room_name="Family")
        await running.channel.say("@bot", room="a", is_mention=True, room_name="Work")

    talk(bare_instance, script)
    assert bare_instance.room("a").name == "Family"


def test_admitted_message_names_its_room(bare_instance: Instance) -> None:
    """The platform sends the room's name with the first message only.

    The destination has that name.
    """
    room(bare_instance, "a")

    async def script(running: Running) -> None:
        await running.channel.say("hello", room="a", room_name="The Family")

    talk(bare_instance, script)
    assert destinations_of(bare_instance, session_in(bare_instance, "a")) == {"the-family": "a"}


def test_admitted_message_without_match_renames_its_room(bare_instance: Instance) -> None:
    """The agent waits for a pattern, and no message matches.

    The room still gets its latest name.
    """
    room(bare_instance, "a", "Family", engage_pattern="^!")

    async def script(running: Running) -> None:
        await running.channel.say("good morning", room="a", room_name="The Smiths")

    talk(bare_instance, script)
    assert bare_instance.room("a").name == "The Smiths"


def test_room_without_a_name_is_named_by_its_channel(bare_instance: Instance) -> None:
    """Rooms without a name are numbered in the order of their wiring."""
    for room_id in ("a", "b", "c"):
        room(bare_instance, room_id)
    assert destinations_after_writing(bare_instance, "c") == {"recorder": "a", "recorder-2": "b", "recorder-3": "c"}


def test_recreated_wiring_keeps_its_name(bare_instance: Instance) -> None:
    """The operator removes and recreates a wiring to change it.

    The room keeps its destination name.
    """
    first = room(bare_instance, "a", "Family")
    room(bare_instance, "b", "Family")
    destinations_after_writing(bare_instance, "a")
    unwire(bare_instance, first)
    assert destinations_after_writing(bare_instance, "b") == {"family-2": "b"}
    bare_instance.wire(room="a")
    assert destinations_after_writing(bare_instance, "b") == {"family": "a", "family-2": "b"}


def test_recreated_chat_is_another_target(bare_instance: Instance) -> None:
    """The name of a deleted chat is not reused; its replacement gets a new name."""
    room(bare_instance, "b", "Friends")
    room(bare_instance, "a", "Family")
    destinations_after_writing(bare_instance, "b")
    bare_instance.db.execute("DELETE FROM messaging_groups WHERE room = 'a'")
    room(bare_instance, "a", "Family")
    assert destinations_after_writing(bare_instance, "b") == {"friends": "b", "family-2": "a"}


def test_numbered_name_avoids_a_room_of_that_name(bare_instance: Instance) -> None:
    """A room is called Family 2 before a second Family exists."""
    for room_id, name in (("a", "Family 2"), ("b", "Family"), ("c", "Family")):
        room(bare_instance, room_id, name)
    assert destinations_after_writing(bare_instance, "a") == {"family-2": "a", "family": "b", "family-3": "c"}


def test_each_agent_has_its_own_names(bare_instance: Instance) -> None:
    """Two agents may use one name for different rooms."""
    room(bare_instance, "a", "Family", folder="one")
    room(bare_instance, "b", "Family", folder="two")
    assert destinations_after_writing(bare_instance, "a") == {"family": "a"}
    assert destinations_after_writing(bare_instance, "b") == {"family": "b"}


def test_name_with_a_lone_surrogate_is_stored(bare_instance: Instance) -> None:
    """A platform cuts an emoji of a room's name in two; the message still arrives."""
    room(bare_instance, "a")

    async def script(running: Running) -> None:
        await running.channel.say("hello", room="a", room_name="Family \ud83d")

    talk(bare_instance, script)
    assert destinations_of(bare_instance, session_in(bare_instance, "a")) == {"family": "a"}


# Limits


def test_destinations_are_the_first_rooms_and_the_own_room(bare_instance: Instance) -> None:
    """The list has a limit and is the same for each session.

    It always contains the session's own room.
    """
    rooms = [f"r{number:03}" for number in range(MAX_DESTINATIONS + 5)]
    for room_id in rooms:
        room(bare_instance, room_id)
    first, last = (
        destinations_after_writing(bare_instance, rooms[0]),
        destinations_after_writing(bare_instance, rooms[-1]),
    )
    assert set(first.values()) == set(rooms[:MAX_DESTINATIONS])
    assert set(last.values()) == {*rooms[:MAX_DESTINATIONS], rooms[-1]}
    assert {name: room_id for name, room_id in last.items() if name in first} == first


@pytest.mark.parametrize("together", [False, True])
def test_room_of_a_waiting_message_stays_listed(bare_instance: Instance, together: bool) -> None:
    """Two people write to an agent-shared session from rooms beyond the limit before its runner reads."""
    rooms = [f"r{number:03}" for number in range(MAX_DESTINATIONS + 5)]
    for room_id in rooms:
        room(bare_instance, room_id, session_mode=SessionMode.AGENT_SHARED)

    async def script(running: Running) -> None:
        say = running.channel.say
        if together:
            await asyncio.gather(say("hello", room=rooms[-1]), say("hello", room=rooms[-2]))
        else:
            await say("hello", room=rooms[-1])
            await say("hello", room=rooms[-2])
        await say("hello", room=rooms[0])

    talk(bare_instance, script)
    (session,) = bare_instance.sessions()
    assert set(rooms[-2:]) <= set(destinations_of(bare_instance, session.id).values())


# Delivery and upgrade


@pytest.mark.defect(number=17)
def test_message_to_a_newly_wired_room_arrives(instance: Instance) -> None:
    lists: list[list[str | None]] = []

    async def messenger(runner: FakeRunner) -> int:
        while True:
            messages = await runner.take()
            lists.append([destination.room for destination in inbound.destinations(runner.received)])
            runner.write({"text": "dinner"}, done=messages, channel="recorder", room="kitchen")

    async def scenario() -> list[tuple[str, str]]:
        async with running_host(instance, runtime=ScriptedRuntime(messenger)) as running:
            instance.wire(room="kitchen")
            await running.channel.say("call them")
            await running.channel.texts(1)
            return [(sent.address.room, sent.message.text) for sent in running.channel.delivered]

    assert asyncio.run(scenario()) == [("kitchen", "dinner")]
    assert lists[0] == ["room", "kitchen"]


def test_upgrade_names_rooms_in_the_order_of_wiring(tmp_path: Path) -> None:
    """An older instance has wirings but no names.

    The rooms that were wired first get the plain names.
    """
    db = open_central(tmp_path / "nanoclaw.db")
    migrate_core(db, core_migrations()[:2])
    db.execute(f"INSERT INTO agent_groups VALUES ('ag-1', 'Agent', 'agent', '{AT}')")
    for number, room_id in enumerate("cab"):  # neither the ids nor the ages of the chats are in this order
        values = (f"mg-{room_id}", "recorder", room_id, "Family", 0, f"2026-01-0{ord(room_id) - 96}T00:00:00.000Z")
        db.execute("INSERT INTO messaging_groups VALUES (?, ?, ?, ?, ?, ?)", values)
        query = "INSERT INTO wirings (id, messaging_group_id, agent_group_id, created_at) VALUES (?, ?, 'ag-1', ?)"
        db.execute(query, (f"wir-{9 - number}", f"mg-{room_id}", f"2026-02-0{number + 1}T00:00:00.000Z"))
    migrate_core(db, core_migrations())
    rooms = named_rooms(db, GroupId("ag-1"), MessagingGroupId("mg-b"))
    assert {destination.room: destination.name for destination in rooms} == {
        "c": "family",
        "a": "family-2",
        "b": "family-3",
    }
    db.close()


CHATS = st.integers(min_value=0, max_value=3)
CHANGES = st.one_of(
    st.tuples(st.just("name"), CHATS, st.sampled_from(["Family", "family", "Family 2", "Work", None])),
    st.tuples(st.sampled_from(["wire", "unwire", "delete", "list"]), CHATS, st.none()),
)


class ChatModel:
    """A model of an agent and of chats that are made, wired and deleted.

    Args:
        db: A migrated database without agents.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self.db, self.group, self.meanings = db, GroupId("ag-1"), dict[str, str]()
        db.execute("INSERT INTO agent_groups VALUES (?, 'Agent', 'agent', ?)", (self.group, AT))

    def change(self, kind: str, chat: int, name: str | None) -> None:
        """Apply one change to a chat. A missing chat is made first."""
        group = messaging.find(self.db, "recorder", str(chat))
        group = group or messaging.add(self.db, MessagingGroup(channel="recorder", room=str(chat)))
        match kind:
            case "name":
                self.db.execute("UPDATE messaging_groups SET name = ? WHERE id = ?", (name, group.id))
            case "wire" if not messaging.wirings_of(self.db, group.id):
                messaging.wire(self.db, Wiring(messaging_group_id=group.id, agent_group_id=self.group))
            case "unwire":
                self.db.execute("DELETE FROM wirings WHERE messaging_group_id = ?", (group.id,))
            case "delete":
                self.db.execute("DELETE FROM messaging_groups WHERE id = ?", (group.id,))
            case "list":
                self.list_destinations(group.id)

    def list_destinations(self, own: MessagingGroupId) -> None:
        """List the destinations of one session, and compare their names with all earlier lists."""
        for destination in named_rooms(self.db, self.group, own):
            assert destination.name is not None
            assert self.meanings.setdefault(destination.name, destination.id) == destination.id
        assert len(set(self.meanings.values())) == len(self.meanings)


@pytest.mark.invariant(number=15)
@settings(max_examples=80, deadline=None)
@given(changes=st.lists(CHANGES, max_size=30))
def test_destination_name_never_means_another_room(changes: list[tuple[str, int, str | None]]) -> None:
    """After any sequence of changes, each name has one room and each room one name."""
    with contextlib.closing(apsw.Connection(":memory:")) as db:
        db.pragma("foreign_keys", "on")
        migrate_core(db, core_migrations())
        model = ChatModel(db)
        for change in changes:
            model.change(*change)
