"""Tests of the plugin in a running host, with the operator and an agent of scope `group`."""

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
class NotesHost:
    """A running host with the plugin, an agent with a session, and another agent."""

    running: Running
    agent: Caller
    other: str

    async def note(self, group_id: str, text: str = "closed on Monday") -> str:
        """Create a note as the operator, and return its id."""
        answer = await self.running.ask("notes", "create", agent_group_id=group_id, text=text)
        assert answer["ok"], answer
        return str(answer["data"]["id"])

    async def refusal(self, *words: str, **options: Any) -> str:
        """Send a request as the agent that fails, and return the error code."""
        answer = await self.running.ask(*words, caller=self.agent, **options)
        return str(answer["error"]["code"])


async def repeat(runner: FakeRunner) -> int:
    """Repeat every message into the room, including notes of the host, which have no room of their own."""
    while True:
        messages = await runner.take()
        texts = [json.loads(message.content)["text"] for message in messages]
        runner.answer(messages, "; ".join(texts), channel="recorder", room="room")


@asynccontextmanager
async def notes_host(instance: Instance) -> AsyncIterator[NotesHost]:
    instance.wire()
    other = instance.group("other").id
    runtime = ScriptedRuntime(repeat)
    async with running_host(instance, runtime=runtime, notes=notes, registry=registry) as running:
        await running.channel.say("hello")
        await running.channel.texts(1)
        session = instance.sessions()[0]
        agent = Caller(session_id=session.id, agent_group_id=session.agent_group_id)
        yield NotesHost(running=running, agent=agent, other=other)


def test_agent_sees_only_its_own_notes(nanoclaw_instance: Instance) -> None:
    async def scenario() -> None:
        async with notes_host(nanoclaw_instance) as host:
            own = await host.note(str(host.agent.agent_group_id))
            foreign = await host.note(host.other)
            listed = await host.running.ask("notes", "list", caller=host.agent)
            assert listed["data"] == [{"id": own, "urgency": "low", "text": "closed on Monday"}]
            counted = await host.running.ask("notes", "count", caller=host.agent)
            assert counted["data"] == {"count": 1}
            for verb in ("get", "read-out", "delete"):
                assert await host.refusal("notes", verb, foreign) == await host.refusal("notes", verb, "note-none")
            assert await host.refusal("notes", "count", agent_group_id=host.other) == "forbidden"

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["  ", "x" * 2_001])
def test_invalid_request_is_refused_without_an_approval(nanoclaw_instance: Instance, text: str) -> None:
    async def scenario() -> None:
        async with notes_host(nanoclaw_instance) as host:
            assert await host.refusal("notes", "create", text=text) == "invalid-args"
            assert await host.refusal("notes", "create", text="closed") == "approval-pending"
            assert await host.refusal("notes", "read-out", "note-none") == "not-found"

    asyncio.run(scenario())


def test_note_is_read_out_and_deleted_with_its_readings(
    nanoclaw_instance: Instance,
) -> None:
    async def scenario() -> None:
        async with notes_host(nanoclaw_instance) as host:
            note_id = await host.note(str(host.agent.agent_group_id))
            answer = await host.running.ask("notes", "read-out", note_id)
            assert answer["data"] == {"read_out_to": [host.agent.session_id]}
            assert (await host.running.channel.texts(2))[1] == "A note for you: closed on Monday"
            readings = "SELECT count(*) FROM notes_readings"
            assert nanoclaw_instance.db.execute(readings).get == 1
            assert (await host.running.ask("notes", "delete", note_id))["ok"]
            assert nanoclaw_instance.db.execute(readings).get == 0

    asyncio.run(scenario())
