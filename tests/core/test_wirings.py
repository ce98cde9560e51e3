"""Several wirings of one room, and commands that no agent receives, in a running host."""

import asyncio

from nanoclaw_core import Outcome, Receipt
from nanoclaw_core.ids import UserId
from nanoclaw_core.routing.incoming import NOT_ENGAGED
from nanoclaw_core.store import messaging
from nanoclaw_core.store.messaging import EngageMode
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance


def test_wiring_with_higher_priority_is_served_first(bare_instance: Instance) -> None:
    for folder, priority in (("low", -1), ("high", 5), ("middle", 0)):
        bare_instance.wire(folder=folder, priority=priority)

    async def scenario() -> None:
        async with running_host(bare_instance) as running:
            await running.channel.say("hi")
            await running.channel.texts(3)

    asyncio.run(scenario())
    rows = bare_instance.db.execute("SELECT agent_group_id FROM sessions ORDER BY rowid").fetchall()
    folders = {group.id: group.folder for group in bare_instance.groups()}
    assert [folders[group_id] for (group_id,) in rows] == ["high", "middle", "low"]


def test_receipt_names_no_agent_only_if_all_ignore_it(bare_instance: Instance) -> None:
    """One agent answers everything, the others answer mentions."""
    for folder in ("first", "second"):
        bare_instance.wire(folder=folder, room="quiet", engage_mode=EngageMode.MENTION, engage_pattern=None)
        bare_instance.wire(folder=folder, room="mixed", engage_mode=EngageMode.MENTION, engage_pattern=None)
    bare_instance.wire(folder="first", room="single", engage_mode=EngageMode.MENTION, engage_pattern=None)
    bare_instance.wire(folder="third", room="mixed")

    async def scenario() -> list[Receipt]:
        async with running_host(bare_instance) as running:
            return [await running.channel.say("hi", room=room) for room in ("single", "quiet", "mixed")]

    receipts = asyncio.run(scenario())
    assert [(receipt.outcome, receipt.reason) for receipt in receipts] == [
        (Outcome.IGNORED, NOT_ENGAGED),
        (Outcome.IGNORED, NOT_ENGAGED),
        (Outcome.ROUTED, None),
    ]


def test_command_not_meant_for_agents_is_ignored(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("/login now")

    receipt = asyncio.run(scenario())
    assert (receipt.outcome, receipt.reason) == (Outcome.IGNORED, "Agents do not take /login. Ask in plain words.")
    assert instance.sessions() == []


def test_router_read_knows_a_stored_sender_by_name(instance: Instance) -> None:
    """Only a new sender, or one with another display name, is written again."""

    def knows(name: str | None) -> bool:
        room = messaging.find_wired(instance.db, "recorder", "room", user, name)
        assert room is not None
        return room.knows_sender

    user = UserId("recorder:ada")
    assert not knows("Ada")
    messaging.upsert_user(instance.db, user, "recorder", "Ada")
    assert [knows("Ada"), knows(None), knows("Ada L.")] == [True, True, False]
