"""Held requests, answered by the operator over the control socket of a running host."""

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
    PluginContext,
    SessionId,
    Step,
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
    """An instance whose agent answers in the room `room`."""
    nanoclaw_instance.wire()
    return nanoclaw_instance


class Bells:
    """A plugin with a verb and an action that need a human, and one that objects where it is told to."""

    def __init__(self) -> None:
        self.rung: list[tuple[Mapping[str, Any], Caller]] = []
        self.objects = False
        self.handles = False
        self.gate: asyncio.Event | None = None

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        names = ("group", "how", "note")
        yield Verb(
            resource="bells",
            name="ring",
            access=Access.HOLD,
            run=self._ring,
            parameters=[Parameter(name=name) for name in names],
            scope_parameter="group",
        )

    @hookimpl
    def nanoclaw_actions(self) -> Iterable[Action]:
        yield Action(name="toll", access=Access.HOLD, run=self._ring)

    @hookimpl
    def nanoclaw_approval_handlers(self) -> Iterable[ApprovalHandler]:
        async def handle(arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
            self.rung.append(({"handled": dict(arguments)}, caller))
            return "handled"

        return [ApprovalHandler(name="bells ring", run=handle)] if self.handles else []

    @hookimpl
    def nanoclaw_permit_action(self, step: Step) -> Verdict | None:
        return Verdict(Vote.DENY, f"no {step.name} today") if self.objects else None

    async def _ring(self, arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
        if arguments.get("how") == "badly":
            raise InvalidArguments("the bell is cracked")
        if self.gate is not None:
            await self.gate.wait()
        self.rung.append((dict(arguments), caller))
        return {"rung": arguments.get("how")}


@frozen(kw_only=True)
class Tower:
    """A running host, an agent in it, and the operator's connection."""

    running: Running
    bells: Bells
    operator: Client
    agent: Caller

    async def ask(self, *words: str, **options: Any) -> dict[str, Any]:
        """Ask as the agent."""
        dispatch = self.running.host.machine.dispatch
        answer = await dispatch.answer(Request(id="1", words=list(words), options=options), self.agent)
        return answer.as_json_object()

    async def held(self, **options: Any) -> str:
        """Ask for what needs a human, and return the approval's id."""
        answer = await self.ask("bells", "ring", **options)
        assert answer["error"]["code"] == "approval-pending", answer
        return str(answer["error"]["message"].split()[-1])

    def is_read(self, note: str) -> bool:
        """Say whether the agent's runner is done with a note."""
        assert self.agent.session_id is not None
        mailbox = self.running.host.machine.mailbox
        rows = mailbox.inboxes.read(self.agent.session_id).execute("SELECT id, content FROM messages_in").fetchall()
        ids = [row_id for row_id, content in rows if note in json.loads(content)["text"]]
        return bool(mailbox.outboxes.settled(self.agent.session_id, ids))

    def notes(self) -> list[str]:
        """Return what the agent was told by the host."""
        assert self.agent.session_id is not None
        db = self.running.host.machine.mailbox.inboxes.read(self.agent.session_id)
        rows = [json.loads(content) for (content,) in db.execute("SELECT content FROM messages_in ORDER BY seq")]
        return [row["text"] for row in rows if row.get("sender_id") == "host"]


@asynccontextmanager
async def tower(instance: Instance, bells: Bells | None = None, scope: str = "group") -> AsyncIterator[Tower]:
    """Run a host whose agent has been spoken to."""
    bells = bells or Bells()
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
        yield Tower(running=running, bells=bells, operator=operator, agent=agent)


def test_what_is_approved_is_done_as_the_agent_that_asked_and_the_agent_hears_of_it(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
            assert here.bells.rung == []
            answered = await here.operator.data("approvals", "approve", approval_id)
            assert (answered["status"], answered["outcome"]["data"]) == ("approved", {"rung": "loud"})
            ((arguments, caller),) = here.bells.rung
            assert arguments == {"how": "loud", "group": here.agent.agent_group_id}
            assert (caller.operator, caller.session_id) == (False, here.agent.session_id)
            assert caller.agent_group_id == caller.limited_to == here.agent.agent_group_id
            (note,) = here.notes()
            assert note == f'Your request `bells ring` ({approval_id}) was approved and done: {{"rung": "loud"}}'
            await until(lambda: here.is_read(note))  # it was woken for it

    asyncio.run(scenario())


def test_what_is_rejected_is_not_done_and_the_agent_hears_why(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
            answered = await here.operator.data("approvals", "reject", approval_id, reason="it is night")
            assert (answered["status"], answered["outcome"]) == ("rejected", None)
            assert here.bells.rung == []
            assert here.notes() == [f"Your request `bells ring` ({approval_id}) was rejected: it is night."]

    asyncio.run(scenario())


@pytest.mark.parametrize("second", ["approve", "reject"])
def test_warning_13_of_two_answers_the_first_one_counts(instance: Instance, second: str) -> None:
    async def scenario() -> None:
        bells = Bells()
        async with tower(instance, bells) as here, client(instance) as other:
            approval_id = await here.held(how="loud")
            bells.gate = asyncio.Event()
            first = asyncio.create_task(here.operator.ask("approvals", "approve", approval_id))
            await until(lambda: instance.db.execute("SELECT used_at FROM approvals").get is not None)
            code, message = await other.refusal("approvals", second, approval_id)
            assert (code, message) == ("forbidden", f"{approval_id} is approved already; an approval is answered once")
            bells.gate.set()
            assert (await first)["ok"]
            assert len(bells.rung) == 1

    asyncio.run(scenario())


def test_an_approval_that_nobody_knows_is_not_found(instance: Instance) -> None:
    async def scenario() -> tuple[str, str]:
        async with tower(instance) as here:
            return await here.operator.refusal("approvals", "approve", "apr-none")

    assert asyncio.run(scenario())[0] == "not-found"


def test_what_has_expired_cannot_be_approved(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
            instance.db.execute("UPDATE approvals SET expires_at = ?", (clock.now_text(),))
            code, message = await here.operator.refusal("approvals", "approve", approval_id)
            assert (code, message) == ("forbidden", f"{approval_id} has expired; an approval is answered once")
            assert here.bells.rung == []

    asyncio.run(scenario())


def test_what_expires_is_told_to_the_agent_by_the_next_host(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
            instance.db.execute("UPDATE approvals SET expires_at = ?", (clock.now_text(),))
        async with tower(instance) as here:
            await until(here.notes)
            assert here.notes() == [
                f"Your request `bells ring` ({approval_id}) expired: nobody answered in time."
                " Ask again if it is still wanted."
            ]
            assert (await here.operator.data("approvals", "get", approval_id))["status"] == "expired"

    asyncio.run(scenario())


def test_what_fails_after_the_approval_is_told_to_both(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="badly")
            answered = await here.operator.data("approvals", "approve", approval_id)
            error = {"code": "invalid-args", "message": "the bell is cracked"}
            assert answered["outcome"]["error"] == error
            assert (await here.operator.data("approvals", "get", approval_id))["outcome"]["error"] == error
            assert here.notes()[-1].endswith("was approved, but it failed: the bell is cracked")

    asyncio.run(scenario())


def test_what_the_agent_may_not_do_any_more_is_not_done_although_it_was_approved(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
            instance.db.execute("UPDATE container_configs SET cli_scope = 'disabled'")
            answered = await here.operator.data("approvals", "approve", approval_id)
            assert answered["outcome"]["error"]["code"] == "forbidden"
            assert here.bells.rung == []

    asyncio.run(scenario())


def test_invariant_08_a_plugin_that_objects_when_it_is_approved_still_stops_it(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
            here.bells.objects = True
            answered = await here.operator.data("approvals", "approve", approval_id)
            assert "no bells ring today" in answered["outcome"]["error"]["message"]
            assert here.bells.rung == []

    asyncio.run(scenario())


def test_an_action_that_was_held_is_done_when_it_is_approved(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            with pytest.raises(Exception, match="apr-") as held:
                await here.running.host.machine.actions.run("toll", {"how": "slow"}, here.agent)
            await here.operator.data("approvals", "approve", str(held.value).split()[-1])
            assert [arguments for arguments, _ in here.bells.rung] == [{"how": "slow"}]

    asyncio.run(scenario())


def test_an_approval_handler_takes_the_place_of_what_was_held(instance: Instance) -> None:
    async def scenario() -> None:
        bells = Bells()
        bells.handles = True
        async with tower(instance, bells) as here:
            approval_id = await here.held(how="loud")
            answered = await here.operator.data("approvals", "approve", approval_id)
            assert answered["outcome"]["data"] == "handled"
            ((arguments, caller),) = bells.rung
            assert arguments == {"handled": {"how": "loud", "group": here.agent.agent_group_id}}
            assert caller.session_id == here.agent.session_id

    asyncio.run(scenario())


def test_what_was_approved_when_the_host_died_is_done_by_the_next_one(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
        instance.db.execute(
            "UPDATE approvals SET status = 'approved', decided_by = 'operator', decided_at = ?", (clock.now_text(),)
        )
        async with tower(instance) as here:
            await until(lambda: here.bells.rung)
            await until(lambda: instance.db.execute("SELECT outcome FROM approvals").get)
            assert json.loads(instance.db.execute("SELECT outcome FROM approvals").get)["data"] == {"rung": "loud"}
            assert len(here.bells.rung) == 1
            assert approval_id in here.notes()[0]

    asyncio.run(scenario())


def test_what_was_begun_when_the_host_died_is_not_done_again(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            await here.held(how="loud")
        now = clock.now_text()
        instance.db.execute("UPDATE approvals SET status = 'approved', decided_at = ?, used_at = ?", (now, now))
        async with tower(instance) as here:
            await until(here.notes)
            assert here.notes()[0].endswith("the host ended while it was being done; look whether it was")
            assert here.bells.rung == []

    asyncio.run(scenario())


def test_what_is_being_done_is_left_alone_when_the_service_runs_once_more(instance: Instance) -> None:
    async def scenario() -> None:
        bells = Bells()
        async with tower(instance, bells) as here, client(instance) as other:
            (service,) = approvals.nanoclaw_services()
            keeper = service.connect(None, here.running.host.machine.of.context_of("approvals"))
            under_way, late = await here.held(how="loud"), await here.held(how="late")
            bells.gate = asyncio.Event()
            answer = asyncio.create_task(other.ask("approvals", "approve", under_way))
            await until(lambda: instance.db.execute("SELECT 1 FROM approvals WHERE used_at IS NOT NULL").get)
            instance.db.execute("UPDATE approvals SET expires_at = ? WHERE id = ?", (clock.now_text(), late))
            again = asyncio.create_task(keeper.run())
            await until(lambda: any(late in note for note in here.notes()))  # it has looked at everything
            again.cancel()
            assert (await here.operator.data("approvals", "get", under_way))["outcome"] is None
            bells.gate.set()
            assert (await answer)["data"]["outcome"]["ok"]
            assert [note for note in here.notes() if "failed" in note] == []

    asyncio.run(scenario())


@pytest.mark.parametrize("scope", ["group", "global"])
@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_no_agent_answers_what_is_held(instance: Instance, scope: str, answer: str) -> None:
    async def scenario() -> None:
        async with tower(instance, scope=scope) as here:
            approval_id = await here.held(how="loud", group=here.agent.agent_group_id)
            refused = await here.ask("approvals", answer, approval_id)
            assert refused["error"]["code"] == "forbidden"
            assert (await here.operator.data("approvals", "get", approval_id))["status"] == "pending"

    asyncio.run(scenario())


def test_an_agent_sees_the_requests_of_its_own_group_alone(instance: Instance) -> None:
    async def scenario() -> None:
        async with tower(instance) as here:
            approval_id = await here.held(how="loud")
            instance.db.execute(
                "INSERT INTO approvals (id, kind, name, arguments, agent_group_id, created_at, expires_at)"
                " VALUES ('apr-other', 'verb', 'bells ring', '{}', 'ag-other', '', '')"
            )
            assert [row["id"] for row in (await here.ask("approvals", "list"))["data"]] == [approval_id]
            assert (await here.ask("approvals", "get", approval_id))["data"]["arguments"]["how"] == "loud"
            foreign = (await here.ask("approvals", "get", "apr-other"))["error"]
            unknown = (await here.ask("approvals", "get", "apr-none"))["error"]
            assert foreign["code"] == unknown["code"] == "not-found"
            assert foreign["message"].replace("other", "none") == unknown["message"]

    asyncio.run(scenario())
