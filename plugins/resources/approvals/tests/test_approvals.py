"""Tests of pending requests that the operator answers over the control socket of a running host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nanoclaw_resource_approvals.host as approvals
import nanoclaw_resource_registry.host as registry
import pytest
from attrs import frozen
from nanoclaw_wire import clock
from nanoclaw_wire.frames import Request
from registry_host import Client, client

from nanoclaw_core import (
    Access,
    Action,
    ApprovalHandler,
    Caller,
    GroupId,
    InvalidArguments,
    Parameter,
    PermissionRequest,
    PluginContext,
    SessionId,
    Verb,
    Verdict,
    Vote,
    hookimpl,
)
from nanoclaw_core.store import agents
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance


@pytest.fixture
def instance(nanoclaw_instance: Instance) -> Instance:
    """Return an instance with an agent that is wired to the room `room`."""
    nanoclaw_instance.wire()
    return nanoclaw_instance


class BellPlugin:
    """A plugin with a verb and an action that need approval; `denies` denies both."""

    def __init__(self) -> None:
        self.calls: list[tuple[Mapping[str, Any], Caller]] = []
        self.denies = False
        self.handles = False
        self.gate: asyncio.Event | None = None

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        names = ("group", "how", "note")
        yield Verb(
            resource="bells",
            name="ring",
            access=Access.NEEDS_APPROVAL,
            run=self._ring,
            parameters=[Parameter(name=name) for name in names],
            scope_parameter="group",
        )

    @hookimpl
    def nanoclaw_actions(self) -> Iterable[Action]:
        yield Action(name="toll", access=Access.NEEDS_APPROVAL, run=self._ring)

    @hookimpl
    def nanoclaw_approval_handlers(self) -> Iterable[ApprovalHandler]:
        async def handle(arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
            self.calls.append(({"handled": dict(arguments)}, caller))
            return "handled"

        return [ApprovalHandler(name="bells ring", run=handle)] if self.handles else []

    @hookimpl
    def nanoclaw_permit_action(self, request: PermissionRequest) -> Verdict | None:
        return Verdict(Vote.DENY, f"no {request.name} today") if self.denies else None

    async def _ring(self, arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
        if arguments.get("how") == "badly":
            raise InvalidArguments("the bell is cracked")
        if self.gate is not None:
            await self.gate.wait()
        self.calls.append((dict(arguments), caller))
        return {"rung": arguments.get("how")}


@frozen(kw_only=True)
class ApprovalHost:
    """A running host with the bell plugin, one of its agents, and the operator's connection."""

    running: Running
    bells: BellPlugin
    operator: Client
    agent: Caller

    async def ask(self, *words: str, **options: Any) -> dict[str, Any]:
        """Send a request as the agent, and return the answer."""
        dispatch = self.running.host.components.dispatch
        answer = await dispatch.answer(Request(id="1", words=list(words), options=options), self.agent)
        return answer.as_json_object()

    async def pending(self, **options: Any) -> str:
        """Request `bells ring` as the agent, and return the id of the approval."""
        answer = await self.ask("bells", "ring", **options)
        assert answer["error"]["code"] == "approval-pending", answer
        return str(answer["error"]["message"].split()[-1])

    def is_read(self, note: str) -> bool:
        """Return whether the agent's runner has finished a note."""
        assert self.agent.session_id is not None
        mailbox = self.running.host.components.mailbox
        rows = mailbox.inbox.read(self.agent.session_id).execute("SELECT id, content FROM messages_in").fetchall()
        ids = [row_id for row_id, content in rows if note in json.loads(content)["text"]]
        return bool(mailbox.outbox.finished(self.agent.session_id, ids))

    def notes(self) -> list[str]:
        """Return the texts that the host sent to the agent."""
        assert self.agent.session_id is not None
        db = self.running.host.components.mailbox.inbox.read(self.agent.session_id)
        rows = [json.loads(content) for (content,) in db.execute("SELECT content FROM messages_in ORDER BY seq")]
        return [row["text"] for row in rows if row.get("sender_id") == "host"]


@asynccontextmanager
async def approval_host(
    instance: Instance, bells: BellPlugin | None = None, scope: str = "group"
) -> AsyncIterator[ApprovalHost]:
    """Run a host with an agent that has answered a first message."""
    bells = bells or BellPlugin()
    async with (
        running_host(instance, bells=bells, approvals=approvals, registry=registry) as running,
        client(instance) as operator,
    ):
        await running.channel.say("hello")
        await running.channel.texts(1)
        session = instance.sessions()[0]
        config = agents.config_of(instance.db, session.agent_group_id)
        instance.db.execute(
            "UPDATE container_configs SET cli_scope = ? WHERE agent_group_id = ?", (scope, config.agent_group_id)
        )
        agent = Caller(session_id=SessionId(session.id), agent_group_id=GroupId(session.agent_group_id))
        yield ApprovalHost(running=running, bells=bells, operator=operator, agent=agent)


def test_approved_request_runs_as_the_agent_that_asked(instance: Instance) -> None:
    """The agent receives a note with the result, and the note starts a sandbox."""

    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
            assert host.bells.calls == []
            answered = await host.operator.data("approvals", "approve", approval_id)
            assert (answered["status"], answered["outcome"]["data"]) == ("approved", {"rung": "loud"})
            ((arguments, caller),) = host.bells.calls
            assert arguments == {"how": "loud", "group": host.agent.agent_group_id}
            assert (caller.operator, caller.session_id) == (False, host.agent.session_id)
            assert caller.agent_group_id == caller.scope_group_id == host.agent.agent_group_id
            (note,) = host.notes()
            assert note == f'Your request `bells ring` ({approval_id}) was approved and done: {{"rung": "loud"}}'
            await until(lambda: host.is_read(note))  # the note starts a sandbox

    asyncio.run(scenario())


def test_rejected_request_is_not_run_and_agent_hears_why(instance: Instance) -> None:
    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
            answered = await host.operator.data("approvals", "reject", approval_id, reason="it is night")
            assert (answered["status"], answered["outcome"]) == ("rejected", None)
            assert host.bells.calls == []
            assert host.notes() == [f"Your request `bells ring` ({approval_id}) was rejected: it is night."]

    asyncio.run(scenario())


@pytest.mark.defect(number=13)
@pytest.mark.parametrize("second", ["approve", "reject"])
def test_second_answer_to_an_approval_is_refused(instance: Instance, second: str) -> None:
    """The first answer wins, even while its request is still running."""

    async def scenario() -> None:
        bells = BellPlugin()
        async with approval_host(instance, bells) as host, client(instance) as other:
            approval_id = await host.pending(how="loud")
            bells.gate = asyncio.Event()
            first = asyncio.create_task(host.operator.ask("approvals", "approve", approval_id))
            await until(lambda: instance.db.execute("SELECT used_at FROM approvals").get is not None)
            code, message = await other.refusal("approvals", second, approval_id)
            assert (code, message) == (
                "forbidden",
                f"approvals: {approval_id} is already approved. Each approval accepts one answer",
            )
            bells.gate.set()
            assert (await first)["ok"]
            assert len(bells.calls) == 1

    asyncio.run(scenario())


def test_answer_to_unknown_approval_is_not_found(instance: Instance) -> None:
    async def scenario() -> tuple[str, str]:
        async with approval_host(instance) as host:
            return await host.operator.refusal("approvals", "approve", "apr-none")

    assert asyncio.run(scenario())[0] == "not-found"


def test_expired_approval_cannot_be_approved(instance: Instance) -> None:
    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
            instance.db.execute("UPDATE approvals SET expires_at = ?", (clock.now_text(),))
            code, message = await host.operator.refusal("approvals", "approve", approval_id)
            assert (code, message) == (
                "forbidden",
                f"approvals: {approval_id} has expired. Each approval accepts one answer",
            )
            assert host.bells.calls == []

    asyncio.run(scenario())


def test_expiry_is_reported_to_the_agent_by_the_next_host(instance: Instance) -> None:
    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
            instance.db.execute("UPDATE approvals SET expires_at = ?", (clock.now_text(),))
        async with approval_host(instance) as host:
            await until(host.notes)
            assert host.notes() == [
                f"Your request `bells ring` ({approval_id}) expired without an answer. Ask again if you still need it."
            ]
            assert (await host.operator.data("approvals", "get", approval_id))["status"] == "expired"

    asyncio.run(scenario())


def test_failure_after_approval_reaches_operator_and_agent(instance: Instance) -> None:
    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="badly")
            answered = await host.operator.data("approvals", "approve", approval_id)
            error = {"code": "invalid-args", "message": "the bell is cracked"}
            assert answered["outcome"]["error"] == error
            assert (await host.operator.data("approvals", "get", approval_id))["outcome"]["error"] == error
            assert host.notes()[-1].endswith("was approved, but it failed: the bell is cracked")

    asyncio.run(scenario())


def test_approved_request_out_of_scope_is_not_run(instance: Instance) -> None:
    """The permissions of the moment of execution count, not those of the request."""

    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
            instance.db.execute("UPDATE container_configs SET cli_scope = 'disabled'")
            answered = await host.operator.data("approvals", "approve", approval_id)
            assert answered["outcome"]["error"]["code"] == "forbidden"
            assert host.bells.calls == []

    asyncio.run(scenario())


@pytest.mark.invariant(number=8)
def test_plugin_that_denies_after_approval_stops_request(instance: Instance) -> None:
    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
            host.bells.denies = True
            answered = await host.operator.data("approvals", "approve", approval_id)
            assert "no bells ring today" in answered["outcome"]["error"]["message"]
            assert host.bells.calls == []

    asyncio.run(scenario())


def test_approved_action_is_run(instance: Instance) -> None:
    async def scenario() -> None:
        async with approval_host(instance) as host:
            with pytest.raises(Exception, match="apr-") as pending:
                await host.running.host.components.actions.run("toll", {"how": "slow"}, host.agent)
            await host.operator.data("approvals", "approve", str(pending.value).split()[-1])
            assert [arguments for arguments, _ in host.bells.calls] == [{"how": "slow"}]

    asyncio.run(scenario())


def test_approval_handler_runs_instead_of_the_verb(instance: Instance) -> None:
    async def scenario() -> None:
        bells = BellPlugin()
        bells.handles = True
        async with approval_host(instance, bells) as host:
            approval_id = await host.pending(how="loud")
            answered = await host.operator.data("approvals", "approve", approval_id)
            assert answered["outcome"]["data"] == "handled"
            ((arguments, caller),) = bells.calls
            assert arguments == {"handled": {"how": "loud", "group": host.agent.agent_group_id}}
            assert caller.session_id == host.agent.session_id

    asyncio.run(scenario())


def test_approved_request_is_run_once_by_the_next_host(instance: Instance) -> None:
    """The earlier host stopped between the answer and the execution."""

    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
        instance.db.execute(
            "UPDATE approvals SET status = 'approved', decided_by = 'operator', decided_at = ?", (clock.now_text(),)
        )
        async with approval_host(instance) as host:
            await until(lambda: host.bells.calls)
            await until(lambda: instance.db.execute("SELECT outcome FROM approvals").get)
            assert json.loads(instance.db.execute("SELECT outcome FROM approvals").get)["data"] == {"rung": "loud"}
            assert len(host.bells.calls) == 1
            assert approval_id in host.notes()[0]

    asyncio.run(scenario())


def test_begun_request_is_not_repeated_by_the_next_host(instance: Instance) -> None:
    async def scenario() -> None:
        async with approval_host(instance) as host:
            await host.pending(how="loud")
        now = clock.now_text()
        instance.db.execute("UPDATE approvals SET status = 'approved', decided_at = ?, used_at = ?", (now, now))
        async with approval_host(instance) as host:
            await until(host.notes)
            assert host.notes()[0].endswith(
                "the host stopped while the request was running. Check whether it took effect"
            )
            assert host.bells.calls == []

    asyncio.run(scenario())


def test_running_request_is_left_alone_by_a_second_service(instance: Instance) -> None:
    """The service resumes only requests of an earlier host."""

    async def scenario() -> None:
        bells = BellPlugin()
        async with approval_host(instance, bells) as host, client(instance) as other:
            (service,) = approvals.nanoclaw_services()
            approval_service = service.connect(None, host.running.host.components.plugin_context("approvals"))
            under_way, late = await host.pending(how="loud"), await host.pending(how="late")
            bells.gate = asyncio.Event()
            answer = asyncio.create_task(other.ask("approvals", "approve", under_way))
            await until(lambda: instance.db.execute("SELECT 1 FROM approvals WHERE used_at IS NOT NULL").get)
            instance.db.execute("UPDATE approvals SET expires_at = ? WHERE id = ?", (clock.now_text(), late))
            again = asyncio.create_task(approval_service.run())
            await until(lambda: any(late in note for note in host.notes()))  # expiry runs after the resumption
            again.cancel()
            assert (await host.operator.data("approvals", "get", under_way))["outcome"] is None
            bells.gate.set()
            assert (await answer)["data"]["outcome"]["ok"]
            assert [note for note in host.notes() if "failed" in note] == []

    asyncio.run(scenario())


@pytest.mark.parametrize("scope", ["group", "global"])
@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_agent_cannot_answer_an_approval(instance: Instance, scope: str, answer: str) -> None:
    async def scenario() -> None:
        async with approval_host(instance, scope=scope) as host:
            approval_id = await host.pending(how="loud", group=host.agent.agent_group_id)
            refused = await host.ask("approvals", answer, approval_id)
            assert refused["error"]["code"] == "forbidden"
            assert (await host.operator.data("approvals", "get", approval_id))["status"] == "pending"

    asyncio.run(scenario())


def test_agent_sees_only_requests_of_its_own_group(instance: Instance) -> None:
    """A foreign approval gets the same answer as one that does not exist."""

    async def scenario() -> None:
        async with approval_host(instance) as host:
            approval_id = await host.pending(how="loud")
            instance.db.execute(
                "INSERT INTO approvals (id, kind, name, arguments, agent_group_id, created_at, expires_at)"
                " VALUES ('apr-other', 'verb', 'bells ring', '{}', 'ag-other', '', '')"
            )
            assert [row["id"] for row in (await host.ask("approvals", "list"))["data"]] == [approval_id]
            assert (await host.ask("approvals", "get", approval_id))["data"]["arguments"]["how"] == "loud"
            foreign = (await host.ask("approvals", "get", "apr-other"))["error"]
            unknown = (await host.ask("approvals", "get", "apr-none"))["error"]
            assert foreign["code"] == unknown["code"] == "not-found"
            assert foreign["message"].replace("other", "none") == unknown["message"]

    asyncio.run(scenario())
