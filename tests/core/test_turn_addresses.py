"""Router, delivery and runner together: an answer reaches the room that asked, also if others write (I15)."""

import asyncio
from typing import Any

import pytest
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderContext, ProviderOffer, RunnerPlugin
from nanoclaw_runner.runner import Runner
from nanoclaw_runner.workspace import Workspace
from nanoclaw_wire.config import read_config
from nanoclaw_wire.events import Error, Event, Init, Result

from nanoclaw_core.store import messaging
from nanoclaw_core.store.messaging import MessagingGroup, SessionMode
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


class Model:
    """A provider. Its turn begins with a prompt and ends with `says`."""

    has_slash_commands = False

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()

    async def sandbox(self, fake: FakeRunner) -> int:
        """Run a real runner on the files of a scripted sandbox."""
        workspace = Workspace(files=fake.files, agent=fake.files.outgoing, extra=fake.files.outgoing / "extra")
        part = RunnerPlugin(name="x", providers=[ProviderOffer(name="scripted", connect=self._connect)])
        config = read_config(fake.files.config.read_text(encoding="utf-8"))
        return await Runner(
            workspace=workspace, config=config, plugins=RunnerPlugins(loaded=(part,)), environment={}
        ).run()

    def says(self, text: str) -> None:
        """End the running turn."""
        self._events.put_nowait(Result(text=text))

    async def query(self, prompt: str, push_id: str, **_more: Any) -> "Model":
        await self.push(prompt, push_id)
        return self

    async def push(self, text: str, _push_id: str) -> None:
        self.prompts.append(text)
        await self._events.put(Init(continuation="c"))

    async def events(self) -> Any:
        while (event := await self._events.get()) is not None:
            yield event

    async def end(self) -> None:
        await self._events.put(None)

    abort = interrupt = close = end

    def is_stale(self, _error: Error) -> bool:
        return False

    def _connect(self, _context: ProviderContext) -> "Model":
        return self


@pytest.mark.invariant(number=15)
def test_answer_reaches_the_room_that_asked(bare_instance: Instance) -> None:
    """Ann asks in one room called Family.

    Before the answer, Bob writes in another one of the same session.
    """
    for room in ("a", "b"):
        messaging.add(bare_instance.db, MessagingGroup(channel="recorder", room=room, name="Family"))
        bare_instance.wire(room=room, session_mode=SessionMode.AGENT_SHARED)
    model = Model()

    async def scenario() -> list[tuple[str, str]]:
        async with running_host(bare_instance, runtime=ScriptedRuntime(model.sandbox)) as running:
            await running.channel.say("please tell me my balance", room="a", sender="ann")
            await until(lambda: model.prompts)
            assert 'from="family"' in model.prompts[0]
            await running.channel.say("good morning", room="b", sender="bob")
            model.says('<message to="family">Ann, your balance is 42.</message>')
            await running.channel.texts(1)
            assert running.channel.delivered[0].address.room == "a"
            await until(lambda: len(model.prompts) == 2)
            assert 'from="family-2"' in model.prompts[1]
            model.says('<message to="family-2">Good morning, Bob.</message>')
            await running.channel.texts(2)
            return [(sent.address.room, sent.message.text) for sent in running.channel.delivered]

    assert asyncio.run(scenario()) == [("a", "Ann, your balance is 42."), ("b", "Good morning, Bob.")]
