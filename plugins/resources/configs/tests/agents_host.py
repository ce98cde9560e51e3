"""A running host with agent groups and their configs, whom a test asks as the operator and as an agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import nanoclaw_resource_configs.host as configs
import nanoclaw_resource_groups.host as groups
import nanoclaw_resource_registry.host as registry
from attrs import frozen
from nanoclaw_wire import clock, outbound
from nanoclaw_wire.frames import Request
from nanoclaw_wire.outbound import AckStatus
from registry_host import Client

from nanoclaw_core import Access, Caller, Parameter, PluginContext, Verb, hookimpl
from nanoclaw_core.store import agents
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

PLUGINS = {"registry": registry, "groups": groups, "configs": configs}


class Human:
    """A plugin with the verb `approve`: says yes to what is held, and has it done."""

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        word = Parameter(name="id", is_positional=True, is_required=True)
        yield Verb(resource="", name="approve", access=Access.DENY, run=self._approve, parameters=(word,))

    async def _approve(self, arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> Any:
        approve = "UPDATE approvals SET status = 'approved', decided_at = ? WHERE id = ? AND status = 'pending'"
        context.database.execute(approve, (clock.now_text(), arguments["id"]))
        return (await context.operations.execute_approved(arguments["id"])).as_json_object()


class Listening:
    """A script for sandboxes: answers people like `echo`, and keeps what each sandbox read, notes included."""

    def __init__(self) -> None:
        self.lives: list[tuple[str, list[str]]] = []

    async def __call__(self, runner: FakeRunner) -> int:
        read: list[str] = []
        self.lives.append((runner.spec.session_id, read))
        while True:
            messages = await runner.take()
            texts = [json.loads(message.content)["text"] for message in messages if message.trigger]
            read.extend(texts)
            people = [message for message in messages if message.channel is not None]
            if people:
                runner.answer(messages, f"echo: {' | '.join(texts)}")
            else:  # what is done with nothing said is taken no more, or this would go round and round
                done = [(message.id, AckStatus.COMPLETED) for message in messages]
                outbound.write(runner.written, now=clock.now_text(), acknowledge=done)

    async def heard(self, session_id: str, *texts: str) -> None:
        """Wait until a session's newest sandbox has read exactly these texts."""
        await until(lambda: [read for one, read in self.lives if one == session_id][-1:] == [list(texts)])


class Operator(Client):
    """Asks over the control socket."""

    async def frames(self, *words: str, **options: Any) -> list[dict[str, Any]]:
        """Ask, and return what came back: any progress, and the answer."""
        answer = await self.ask(*words, **options)
        return [*({"progress": text} for text in self.progress), answer]


@frozen(kw_only=True)
class Hosted:
    """A host at work, and its operator."""

    running: Running
    instance: Instance
    ncl: Operator

    def another(self) -> AbstractAsyncContextManager[Operator]:
        """Connect a second time."""
        return connected(self.instance)

    @property
    def runtime(self) -> ScriptedRuntime:
        return self.running.runtime

    @property
    def listening(self) -> Listening:
        assert isinstance(self.runtime.script, Listening)
        return self.runtime.script

    async def session(self, room: str = "room", folder: str = "agent") -> Session:
        """Start a conversation in a room, so that its sandbox runs, and return its session."""
        self.instance.wire(room=room, folder=folder)
        known, delivered = {one.id for one in self.instance.sessions()}, len(self.running.channel.delivered)
        await self.running.channel.say("hello", room=room)
        await self.running.channel.texts(delivered + 1)
        (made,) = [one for one in self.instance.sessions() if one.id not in known]
        return made

    async def as_agent(self, session: Session, *words: str, **options: Any) -> dict[str, Any]:
        """Ask as the agent of a session, and return the answer's frame."""
        caller = Caller(session_id=session.id, agent_group_id=session.agent_group_id)
        request = Request(id="1", words=list(words), options=options)
        return (await self.running.host.machine.dispatch.answer(request, caller)).as_json_object()

    async def approved(self, session: Session, *words: str, **options: Any) -> dict[str, Any]:
        """Ask as an agent for what a human must approve, approve it, and return the frame of what came of it."""
        held = await self.as_agent(session, *words, **options)
        assert not held["ok"], held
        assert held["error"]["code"] == "approval-pending", held
        answer: dict[str, Any] = await self.ncl.data("approve", held["error"]["message"].rpartition(" ")[2])
        return answer

    def scope(self, group_id: str, scope: str) -> None:
        """Say what an agent's ncl reaches."""
        self.instance.db.execute(
            "UPDATE container_configs SET cli_scope = ? WHERE agent_group_id = ?", (scope, group_id)
        )

    def config(self, group_id: str) -> agents.ContainerConfig:
        """Return a config as it is stored."""
        return agents.config_of(self.instance.db, agents.GroupId(group_id))


@asynccontextmanager
async def connected(instance: Instance) -> AsyncIterator[Operator]:
    """Connect to the host that runs on an instance."""
    reader, writer = await asyncio.open_unix_connection(str(instance.places.control_socket))
    try:
        yield Operator(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def hosted(instance: Instance, *, runtime: ScriptedRuntime | None = None) -> AsyncIterator[Hosted]:
    """Run a host with the plugins, and connect to it; its sandboxes are `Listening`, unless a runtime is given."""
    runtime = runtime or ScriptedRuntime(Listening())
    async with running_host(instance, runtime=runtime, human=Human(), **PLUGINS) as running, connected(instance) as ncl:
        yield Hosted(running=running, instance=instance, ncl=ncl)


async def refused(host: Hosted, group_id: str, verb: str, **options: Any) -> str:
    """Ask for a change that must be refused and leave the config as it was; return the reason."""
    before = host.config(group_id)
    code, message = await host.ncl.refusal("groups", "config", verb, group_id, **options)
    assert code == "invalid-args", message
    assert host.config(group_id) == before
    return message
