"""A running host with agent groups and configs.

Tests send it requests as the operator and as an agent.
"""

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


class ApproverPlugin:
    """A plugin with the verb `approve`, which approves a pending request and executes it."""

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        approval_id = Parameter(name="id", is_positional=True, is_required=True)
        yield Verb(
            resource="", name="approve", access=Access.OPERATOR_ONLY, run=self._approve, parameters=(approval_id,)
        )

    async def _approve(self, arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> Any:
        approve = "UPDATE approvals SET status = 'approved', decided_at = ? WHERE id = ? AND status = 'pending'"
        context.database.execute(approve, (clock.now_text(), arguments["id"]))
        return (await context.operations.execute_approved(arguments["id"])).as_json_object()


class RecordingScript:
    """A script for sandboxes that answers like `echo` and records the texts, notes included, of each sandbox."""

    def __init__(self) -> None:
        self.sandboxes: list[tuple[str, list[str]]] = []

    async def __call__(self, runner: FakeRunner) -> int:
        recorded: list[str] = []
        self.sandboxes.append((runner.spec.session_id, recorded))
        while True:
            messages = await runner.take()
            texts = [json.loads(message.content)["text"] for message in messages if message.trigger]
            recorded.extend(texts)
            if any(message.channel is not None for message in messages):
                runner.answer(messages, f"echo: {' | '.join(texts)}")
            else:  # a note gets no answer, so acknowledge it; otherwise the loop would take it again
                done = [(message.id, AckStatus.COMPLETED) for message in messages]
                outbound.write(runner.written, now=clock.now_text(), acknowledge=done)

    async def wait_for(self, session_id: str, *texts: str) -> None:
        """Wait until the newest sandbox of a session has read exactly these texts."""
        await until(lambda: [recorded for name, recorded in self.sandboxes if name == session_id][-1:] == [list(texts)])


class Operator(Client):
    """A client of the control socket that also returns progress frames."""

    async def frames(self, *words: str, **options: Any) -> list[dict[str, Any]]:
        """Send a request, and return its progress frames and the answer."""
        answer = await self.ask(*words, **options)
        return [*({"progress": text} for text in self.progress), answer]


@frozen(kw_only=True)
class Hosted:
    """A running host and the connection of its operator."""

    running: Running
    instance: Instance
    ncl: Operator

    def another(self) -> AbstractAsyncContextManager[Operator]:
        """Open a second connection."""
        return connected(self.instance)

    @property
    def runtime(self) -> ScriptedRuntime:
        return self.running.runtime

    @property
    def recording(self) -> RecordingScript:
        assert isinstance(self.runtime.script, RecordingScript)
        return self.runtime.script

    async def session(self, room: str = "room", folder: str = "agent") -> Session:
        """Start a conversation and its sandbox in a room, and return the session."""
        self.instance.wire(room=room, folder=folder)
        known, delivered = {session.id for session in self.instance.sessions()}, len(self.running.channel.delivered)
        await self.running.channel.say("hello", room=room)
        await self.running.channel.texts(delivered + 1)
        (created,) = [session for session in self.instance.sessions() if session.id not in known]
        return created

    async def as_agent(self, session: Session, *words: str, **options: Any) -> dict[str, Any]:
        """Send a request as the agent of a session, and return the answer frame."""
        caller = Caller(session_id=session.id, agent_group_id=session.agent_group_id)
        request = Request(id="1", words=list(words), options=options)
        return (await self.running.host.components.dispatch.answer(request, caller)).as_json_object()

    async def approved(self, session: Session, *words: str, **options: Any) -> dict[str, Any]:
        """Send a request as an agent, approve it as the operator, and return the frame of its outcome."""
        pending = await self.as_agent(session, *words, **options)
        assert not pending["ok"], pending
        assert pending["error"]["code"] == "approval-pending", pending
        answer: dict[str, Any] = await self.ncl.data("approve", pending["error"]["message"].rpartition(" ")[2])
        return answer

    def scope(self, group_id: str, scope: str) -> None:
        """Set the scope of an agent's ncl."""
        self.instance.db.execute(
            "UPDATE container_configs SET cli_scope = ? WHERE agent_group_id = ?", (scope, group_id)
        )

    def config(self, group_id: str) -> agents.ContainerConfig:
        """Return the stored config of an agent group."""
        return agents.config_of(self.instance.db, agents.GroupId(group_id))


@asynccontextmanager
async def connected(instance: Instance) -> AsyncIterator[Operator]:
    """Connect to the host of an instance."""
    reader, writer = await asyncio.open_unix_connection(str(instance.paths.control_socket))
    try:
        yield Operator(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def hosted(instance: Instance, *, runtime: ScriptedRuntime | None = None) -> AsyncIterator[Hosted]:
    """Run a host with the plugins and connect to it.

    Without a runtime, its sandboxes run a `RecordingScript`.
    """
    runtime = runtime or ScriptedRuntime(RecordingScript())
    async with (
        running_host(instance, runtime=runtime, approver=ApproverPlugin(), **PLUGINS) as running,
        connected(instance) as ncl,
    ):
        yield Hosted(running=running, instance=instance, ncl=ncl)


async def refused(host: Hosted, group_id: str, verb: str, **options: Any) -> str:
    """Request an invalid change, check that the config stays unchanged, and return the error message."""
    before = host.config(group_id)
    code, message = await host.ncl.refusal("groups", "config", verb, group_id, **options)
    assert code == "invalid-args", message
    assert host.config(group_id) == before
    return message
