"""Each hook that a plugin can implement is called by a running host, at its time and with what it promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hosting import running_host, until
from nanoclaw_wire.inbound import Kind
from nanoclaw_wire.outbound import OutKind

from nanoclaw_core import (
    Access,
    Action,
    Address,
    Admission,
    ApprovalHandler,
    Caller,
    DeliveryRefused,
    Migration,
    PluginContext,
    Resource,
    Roster,
    SandboxPart,
    Service,
    Step,
    Sweep,
    Verb,
    Verdict,
    Vote,
    hookimpl,
)
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime


class Noted:
    """A plugin that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @hookimpl
    def nanoclaw_room_unknown(self, address: Address, mentioned: bool) -> None:
        self.told.append(("unknown", address.room, mentioned))

    @hookimpl
    def nanoclaw_sender_refused(self, admission: Admission, reason: str) -> None:
        self.told.append(("refused", admission.user_id, reason))

    @hookimpl
    def nanoclaw_message_routed(self, address: Address, session_id: str, correlation_id: str) -> None:
        self.told.append(("routed", address.room, session_id[:4], bool(correlation_id)))

    @hookimpl
    def nanoclaw_message_delivered(self, address: Address, delivery_id: str, platform_message_id: str | None) -> None:
        self.told.append(("delivered", address.room, platform_message_id))

    @hookimpl
    def nanoclaw_delivery_failed(self, address: Address, delivery_id: str, reason: str) -> None:
        self.told.append(("failed", address.room, "no such chat" in reason))

    @hookimpl
    def nanoclaw_host_started(self) -> None:
        self.told.append(("started",))

    @hookimpl
    def nanoclaw_host_stopping(self) -> None:
        self.told.append(("stopping",))


def test_what_happens_to_messages_is_told_between_start_and_stop(instance: Instance) -> None:
    noted = Noted()

    async def scene() -> None:
        async with running_host(instance, channel=RecorderChannel(refused=["eve"]), noted=noted) as running:
            await running.channel.say("hello", room="nowhere", is_mention=True)
            await running.channel.say("hello", sender="eve")
            await running.channel.say("hello")
            await running.channel.texts(1)
            await until(lambda: ("delivered", "room", "recorder-1") in noted.told)

    asyncio.run(scene())
    assert noted.told == [
        ("started",),
        ("unknown", "nowhere", True),
        ("refused", "recorder:eve", "a stranger"),
        ("routed", "room", "ses-", True),
        ("delivered", "room", "recorder-1"),
        ("stopping",),
    ]


def test_nanoclaw_delivery_failed_is_told_of_what_a_platform_refuses(instance: Instance) -> None:
    noted, channel = Noted(), RecorderChannel()
    channel.troubles.append(DeliveryRefused("no such chat"))

    async def scene() -> None:
        async with running_host(instance, channel=channel, noted=noted) as running:
            await running.channel.say("hello")
            await until(lambda: ("failed", "room", True) in noted.told)

    asyncio.run(scene())


@pytest.mark.parametrize("hook", ["nanoclaw_message_routed", "nanoclaw_host_started", "nanoclaw_host_stopping"])
def test_a_notify_hook_that_raises_stops_nothing(instance: Instance, hook: str) -> None:
    def fail(self: object) -> None:
        raise OSError("broken")

    broken = type("Broken", (), {hook: hookimpl(fail)})()

    async def scene() -> list[str]:
        async with running_host(instance, broken=broken) as running:
            await running.channel.say("hello")
            return await running.channel.texts(1)

    assert asyncio.run(scene()) == ["echo: hello"]


class Working:
    """A plugin with something of everything that works in the background or on request."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.has_run = asyncio.Event()

    @hookimpl
    def nanoclaw_services(self) -> Iterable[Service]:
        yield Service(name="working", connect=lambda _settings, _context: self)

    @hookimpl
    def nanoclaw_sweeps(self) -> Iterable[Sweep]:
        yield Sweep(name="working", every_s=0.01, run=self._sweep)

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        yield Verb(resource="working", name="greet", access=Access.OPEN, run=self._answer)

    @hookimpl
    def nanoclaw_actions(self) -> Iterable[Action]:
        yield Action(name="greet", access=Access.OPEN, run=self._answer)

    @hookimpl
    def nanoclaw_permit_action(self, step: Step) -> Verdict | None:
        return Verdict(Vote.DENY, "not that one") if "forbidden" in step.arguments_json else None

    async def run(self) -> None:
        self.ran.append("service")
        await asyncio.Event().wait()

    async def _sweep(self, _context: PluginContext) -> None:
        self.ran.append("sweep")

    async def _answer(self, arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> Any:
        return {"plugin": context.plugin, "is_operator": caller.operator, "arguments": dict(arguments)}


def test_nanoclaw_services_and_nanoclaw_sweeps_run_while_the_host_does(instance: Instance) -> None:
    async def scene() -> None:
        working = Working()
        async with running_host(instance, working=working):
            await until(lambda: {"service", "sweep"} <= set(working.ran))

    asyncio.run(scene())


def test_nanoclaw_verbs_are_answered_on_the_control_socket(instance: Instance) -> None:
    async def scene() -> dict[str, Any]:
        async with running_host(instance, working=Working()):
            reader, writer = await asyncio.open_unix_connection(instance.places.control_socket)
            writer.write(b'{"id": "1", "words": ["working", "greet"], "options": {}}\n')
            answer: dict[str, Any] = json.loads(await reader.readline())
            writer.close()
            return answer

    answer = asyncio.run(scene())
    assert answer["data"] == {"plugin": "working", "is_operator": True, "arguments": {}}


@pytest.mark.parametrize(("arguments", "is_done"), [({"name": "Ada"}, True), ({"name": "forbidden"}, False)])
def test_nanoclaw_actions_are_carried_out_unless_nanoclaw_permit_action_objects(
    instance: Instance, arguments: dict[str, str], is_done: bool
) -> None:
    answers: list[dict[str, Any]] = []

    async def ask(runner: FakeRunner) -> int:
        messages = await runner.take()
        request = {"action": "greet", "request_id": "r1", "arguments": arguments}
        runner.write(request, kind=OutKind.ACTION, done=messages)
        while True:
            found = [json.loads(one.content) for one in runner.pending() if one.kind is Kind.SYSTEM]
            answers.extend(found)
            if found:
                return 0
            await runner.bell.wait(3_600.0)

    async def scene() -> None:
        async with running_host(instance, runtime=ScriptedRuntime(ask), working=Working()) as running:
            await running.channel.say("hello")
            await until(lambda: answers)

    asyncio.run(scene())
    assert (answers[0]["request_id"], answers[0]["ok"]) == ("r1", is_done)


class Offering:
    """A plugin whose offers others make use of."""

    @hookimpl
    def nanoclaw_migrations(self) -> Iterable[Migration]:
        yield Migration(name="things", apply=lambda db: db.execute("CREATE TABLE offering_things (id TEXT) STRICT"))

    @hookimpl
    def nanoclaw_resources(self) -> Iterable[Resource]:
        yield Resource(name="things", table="offering_things", columns=("id",))

    @hookimpl
    def nanoclaw_approval_handlers(self) -> Iterable[ApprovalHandler]:
        yield ApprovalHandler(name="greet", run=lambda _arguments, _caller, _context: asyncio.sleep(0))

    @hookimpl
    def nanoclaw_rosters(self) -> Iterable[Roster]:
        yield Roster(name="offering", approvers=lambda _group, _context: ())

    @hookimpl
    def nanoclaw_sandbox_parts(self) -> Iterable[SandboxPart]:
        yield SandboxPart(name="offering", apt=("jq",))


def test_a_plugin_that_only_offers_is_active(instance: Instance) -> None:
    async def scene() -> list[str]:
        async with running_host(instance, offering=Offering()) as running:
            return [report.state.value for report in running.host.plugins.reports() if report.name == "offering"]

    assert asyncio.run(scene()) == ["active"]


OFFERS = {
    "nanoclaw_resources": Offering,
    "nanoclaw_approval_handlers": Offering,
    "nanoclaw_services": Working,
    "nanoclaw_verbs": Working,
    "nanoclaw_actions": Working,
}


@pytest.mark.parametrize("hook", OFFERS)
def test_two_offers_of_one_name_stop_the_start_and_both_are_named(instance: Instance, hook: str) -> None:
    offering = OFFERS[hook]
    implementation = getattr(offering, hook)

    def plugin() -> object:
        made = offering()
        return type("One", (), {hook: hookimpl(lambda _self: implementation(made))})()

    async def scene() -> None:
        async with running_host(instance, first=plugin(), second=plugin()):
            pass

    with pytest.raises(Exception, match="is offered by both"):
        asyncio.run(scene())
