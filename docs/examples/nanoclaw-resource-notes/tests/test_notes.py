"""The plugin in a running host, asked by the operator and by an agent whose scope is its own group."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nanoclaw_resource_notes.host as notes
import nanoclaw_resource_registry.host as registry
import pytest
from attrs import frozen

from nanoclaw_core import Caller
from nanoclaw_core.testing.hosting import Running, running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


@frozen(kw_only=True)
class Kitchen:
    """A host with an agent that was spoken to, and another agent."""

    running: Running
    agent: Caller
    other: str

    async def note(self, group_id: str, text: str = "closed on Monday") -> str:
        """Leave a note as the operator, and return its id."""
        made = await self.running.ask("notes", "create", agent_group_id=group_id, text=text)
        assert made["ok"], made
        return str(made["data"]["id"])

    async def refusal(self, *words: str, **options: Any) -> str:
        """Ask as the agent for what it does not get, and return the code."""
        answer = await self.running.ask(*words, caller=self.agent, **options)
        return str(answer["error"]["code"])


async def repeat(runner: FakeRunner) -> int:
    """Say every message into the room, also what the host says, which comes from nowhere."""
    while True:
        messages = await runner.take()
        words = [json.loads(message.content)["text"] for message in messages]
        runner.answer(messages, "; ".join(words), channel="recorder", room="room")


@asynccontextmanager
async def kitchen(instance: Instance) -> AsyncIterator[Kitchen]:
    instance.wire()
    other = instance.group("other").id
    runtime = ScriptedRuntime(repeat)
    async with running_host(instance, runtime=runtime, notes=notes, registry=registry) as running:
        await running.channel.say("hello")
        await running.channel.texts(1)
        session = instance.sessions()[0]
        agent = Caller(session_id=session.id, agent_group_id=session.agent_group_id)
        yield Kitchen(running=running, agent=agent, other=other)


def test_an_agent_sees_its_own_notes_alone(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with kitchen(nanoclaw_instance) as here:
            own = await here.note(str(here.agent.agent_group_id))
            foreign = await here.note(here.other)
            listed = await here.running.ask("notes", "list", caller=here.agent)
            assert listed["data"] == [{"id": own, "urgency": "low", "text": "closed on Monday"}]
            counted = await here.running.ask("notes", "count", caller=here.agent)
            assert counted["data"] == {"count": 1}
            for verb in ("get", "read-out", "delete"):
                assert await here.refusal("notes", verb, foreign) == await here.refusal("notes", verb, "note-none")
            assert await here.refusal("notes", "count", agent_group_id=here.other) == "forbidden"

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["  ", "x" * 2_001])
def test_a_human_is_asked_only_about_what_can_be_right(nanoclaw_instance: Instance, text: str) -> None:
    async def scenario() -> None:
        async with kitchen(nanoclaw_instance) as here:
            assert await here.refusal("notes", "create", text=text) == "invalid-args"
            assert await here.refusal("notes", "create", text="closed") == "approval-pending"
            assert await here.refusal("notes", "read-out", "note-none") == "not-found"

    asyncio.run(scenario())


def test_what_is_read_out_reaches_the_conversation_and_its_reading_goes_with_the_note(
    nanoclaw_instance: Instance,
) -> None:
    async def scenario() -> None:
        async with kitchen(nanoclaw_instance) as here:
            note_id = await here.note(str(here.agent.agent_group_id))
            read = await here.running.ask("notes", "read-out", note_id)
            assert read["data"] == {"read_out_to": [here.agent.session_id]}
            assert (await here.running.channel.texts(2))[1] == "A note for you: closed on Monday"
            readings = "SELECT count(*) FROM notes_readings"
            assert nanoclaw_instance.db.execute(readings).get == 1
            assert (await here.running.ask("notes", "delete", note_id))["ok"]
            assert nanoclaw_instance.db.execute(readings).get == 0

    asyncio.run(scenario())
