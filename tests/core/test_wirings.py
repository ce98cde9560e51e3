"""Several wirings of one room, and commands that no agent receives, in a running host."""

import asyncio

from nanoclaw_core import Outcome, Receipt
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


def test_command_not_meant_for_agents_is_ignored(instance: Instance) -> None:
    async def scenario() -> Receipt:
        async with running_host(instance) as running:
            return await running.channel.say("/login now")

    receipt = asyncio.run(scenario())
    assert (receipt.outcome, receipt.reason) == (Outcome.IGNORED, "agents do not take /login; ask in plain words")
    assert instance.sessions() == []
