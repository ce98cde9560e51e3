"""Each hook in a running host: contributions are used, votes count, and events are reported."""

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from nanoclaw_cli.log_setup import TextFormatter
from nanoclaw_wire import inbound, session_files
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
    PermissionRequest,
    PluginContext,
    PluginError,
    Resource,
    RunningService,
    Service,
    Sweep,
    Verb,
    Verdict,
    Vote,
    hookimpl,
)
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, Script, ScriptedRuntime


async def ask(instance: Instance, *words: str) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(instance.paths.control_socket))
    writer.write(json.dumps({"id": "1", "words": list(words), "options": {}}).encode() + b"\n")
    answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


def requesting(*actions: str) -> Script:
    """Return a runner that requests actions in order and sends their answers to the chat."""

    async def script(runner: FakeRunner) -> int:
        messages = await runner.take()
        for action in actions:
            asked = {"action": action, "request_id": action, "arguments": {"word": "hi"}}
            runner.write(asked, kind=OutKind.ACTION, in_reply_to=messages[0].id)
            await until(lambda action=action: answer_to(runner, action))
        said = " ".join(answer_to(runner, action) for action in actions)
        runner.answer(messages, said)
        await asyncio.Event().wait()
        return 0

    return script


def answer_to(runner: FakeRunner, request_id: str) -> str:
    rows = runner.received.execute("SELECT content FROM messages_in WHERE kind = 'system'").fetchall()
    contents = [json.loads(content) for (content,) in rows]
    answers = [content for content in contents if content["request_id"] == request_id]
    if not answers:
        return ""
    return str(answers[0]["data"]) if answers[0]["ok"] else str(answers[0]["error"]["code"])


class Shouting:
    """A plugin with a verb and an action."""

    def __init__(self, access: Access = Access.ALLOWED) -> None:
        self.access, self.callers = access, list[Caller]()

    async def shout(self, arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
        self.callers.append(caller)
        return str(arguments.get("word", "hello")).upper()

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        yield Verb(resource="voice", name="shout", access=self.access, run=self.shout)

    @hookimpl
    def nanoclaw_actions(self) -> Iterable[Action]:
        yield Action(name="shout", access=self.access, run=self.shout)


def test_nanoclaw_verbs_are_answered_on_the_control_socket(instance: Instance) -> None:
    async def scenario() -> dict[str, Any]:
        async with running_host(instance, shouting=Shouting(Access.OPERATOR_ONLY)):
            return await ask(instance, "voice", "shout")

    assert asyncio.run(scenario()) == {"id": "1", "ok": True, "data": "HELLO"}


def test_nanoclaw_actions_run_for_a_runner_and_answer(instance: Instance) -> None:
    plugin = Shouting()

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(requesting("shout")), shouting=plugin) as running:
            await running.channel.say("go")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["HI"]
    (caller,) = plugin.callers
    assert (caller.operator, caller.agent_group_id) == (False, instance.group().id)


def test_log_of_an_action_has_its_correlation_id(instance: Instance) -> None:
    class Failing(Shouting):
        async def shout(self, arguments: Mapping[str, Any], caller: Caller, _context: PluginContext) -> Any:
            raise RuntimeError("hoarse")

    async def scenario() -> str:
        runtime = ScriptedRuntime(requesting("shout"))
        async with running_host(instance, runtime=runtime, shouting=Failing()) as running:
            receipt = await running.channel.say("go")
            assert await running.channel.texts(1) == ["handler-error"]
            return receipt.correlation_id

    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(TextFormatter())
    logging.getLogger("nanoclaw_core.dispatch").addHandler(handler)
    try:
        correlation_id = asyncio.run(scenario())
    finally:
        logging.getLogger("nanoclaw_core.dispatch").removeHandler(handler)
    (line,) = [line for line in handler.stream.getvalue().splitlines() if "request failed" in line]
    assert f"session={instance.sessions()[0].id} correlation={correlation_id}" in line


@pytest.mark.parametrize(
    ("access", "code"), [(Access.NEEDS_APPROVAL, "approval-pending"), (Access.OPERATOR_ONLY, "forbidden")]
)
def test_restricted_action_does_not_run_by_itself(instance: Instance, access: Access, code: str) -> None:
    plugin = Shouting(access)

    async def scenario() -> list[str]:
        async with running_host(instance, runtime=ScriptedRuntime(requesting("shout")), shouting=plugin) as running:
            await running.channel.say("go")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == [code]
    assert plugin.callers == []
    held = instance.db.execute("SELECT name, arguments, status FROM approvals").fetchall()
    assert held == ([("shout", '{"word": "hi"}', "pending")] if access is Access.NEEDS_APPROVAL else [])


def test_unknown_action_is_answered_and_the_next_runs(instance: Instance) -> None:
    async def scenario() -> list[str]:
        runtime = ScriptedRuntime(requesting("whisper", "shout"))
        async with running_host(instance, runtime=runtime, shouting=Shouting()) as running:
            await running.channel.say("go")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["unknown-command HI"]


def test_nanoclaw_permit_action_stops_an_allowed_action(instance: Instance) -> None:
    class Objecting:
        @hookimpl
        def nanoclaw_permit_action(self, request: PermissionRequest) -> Verdict | None:
            return Verdict(Vote.DENY, "too loud") if request.name == "shout" else None

    plugin = Shouting()

    async def scenario() -> list[str]:
        runtime = ScriptedRuntime(requesting("shout"))
        async with running_host(instance, runtime=runtime, shouting=plugin, objecting=Objecting()) as running:
            await running.channel.say("go")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["forbidden"]
    assert plugin.callers == []


def test_nanoclaw_services_restart_after_a_failure(instance: Instance) -> None:
    class Clock:
        def __init__(self) -> None:
            self.runs = 0

        async def run(self) -> None:
            self.runs += 1
            if self.runs == 1:
                raise ConnectionError("a hiccup")
            await asyncio.Event().wait()

    clock = Clock()

    class Serving:
        @hookimpl
        def nanoclaw_services(self) -> Iterable[Service]:
            yield Service(name="clock", connect=lambda _settings, _context: clock)

    async def scenario() -> None:
        async with running_host(instance, serving=Serving()):
            await until(lambda: clock.runs == 2)

    asyncio.run(scenario())


def test_two_gateways_prevent_the_start(instance: Instance) -> None:
    class Gateway:
        def __init__(self, name: str) -> None:
            self.name = name

        def connect(self, _settings: object, _context: PluginContext) -> RunningService:
            raise AssertionError("no gateway is connected")

        @hookimpl
        def nanoclaw_services(self) -> Iterable[Service]:
            yield Service(name=self.name, connect=self.connect, is_gateway=True)

    async def scenario() -> None:
        async with running_host(instance, one=Gateway("one"), two=Gateway("two")):
            pass

    with pytest.raises(PluginError, match="at most one may be a model gateway, got one, two"):
        asyncio.run(scenario())


def test_nanoclaw_sweeps_run_repeatedly_with_plugin_context(instance: Instance) -> None:
    plugins: list[str] = []

    class Sweeping:
        async def sweep(self, context: PluginContext) -> None:
            plugins.append(context.plugin)

        @hookimpl
        def nanoclaw_sweeps(self) -> Iterable[Sweep]:
            yield Sweep(name="dust", every_s=0.001, run=self.sweep)

    async def scenario() -> None:
        async with running_host(instance, sweeping=Sweeping()):
            await until(lambda: len(plugins) > 2)

    asyncio.run(scenario())
    assert set(plugins) == {"sweeping"}


def test_nanoclaw_migrations_run_before_the_verbs(instance: Instance) -> None:
    class WithTable:
        @hookimpl
        def nanoclaw_migrations(self) -> Iterable[Migration]:
            yield Migration(name="0001", apply=lambda db: db.execute("CREATE TABLE keeping_things (name TEXT) STRICT"))

        @hookimpl
        def nanoclaw_verbs(self) -> Iterable[Verb]:
            yield Verb(resource="things", name="count", access=Access.ALLOWED, run=self.count)

        async def count(self, _arguments: object, _caller: Caller, context: PluginContext) -> Any:
            return context.database.execute("SELECT count(*) FROM keeping_things").get

    async def scenario() -> dict[str, Any]:
        async with running_host(instance, keeping=WithTable()):
            return await ask(instance, "things", "count")

    assert asyncio.run(scenario())["data"] == 0


@pytest.mark.parametrize("hook", ["nanoclaw_resources", "nanoclaw_approval_handlers"])
def test_two_contributions_of_one_name_prevent_the_start(instance: Instance, hook: str) -> None:
    async def run(_arguments: object, _caller: Caller, _context: PluginContext) -> Any:
        raise AssertionError("the handler is not called")

    items: dict[str, object] = {
        "nanoclaw_resources": Resource(name="things", table="keeping_things", columns=("name",)),
        "nanoclaw_approval_handlers": ApprovalHandler(name="things", run=run),
    }

    def offering() -> object:
        implementation = hookimpl(lambda: [items[hook]])
        return type("Offering", (), {hook: staticmethod(implementation)})()

    async def scenario() -> None:
        async with running_host(instance, first=offering(), second=offering()):
            pass

    with pytest.raises(PluginError, match="'things' is offered by both"):
        asyncio.run(scenario())


class Listening:
    """A plugin that records the events that it receives."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @hookimpl
    def nanoclaw_room_unknown(self, address: Address, mentioned: bool) -> None:
        self.events.append(f"unknown {address.room} {mentioned}")

    @hookimpl
    def nanoclaw_sender_refused(self, admission: Admission, reason: str) -> None:
        self.events.append(f"refused {admission.user_id}: {reason}")

    @hookimpl
    def nanoclaw_message_routed(self, address: Address, session_id: str, correlation_id: str) -> None:
        self.events.append(f"routed {address.room} {session_id[:4]} {correlation_id[:4]}")

    @hookimpl
    def nanoclaw_message_delivered(self, address: Address, platform_message_id: str | None) -> None:
        self.events.append(f"delivered {address.room} {platform_message_id}")

    @hookimpl
    def nanoclaw_delivery_failed(self, address: Address, reason: str) -> None:
        self.events.append(f"failed {address.room}: {reason}")

    @hookimpl
    def nanoclaw_host_started(self) -> None:
        self.events.append("started")

    @hookimpl
    def nanoclaw_host_stopping(self) -> None:
        self.events.append("stopping")


def test_notify_hooks_report_events(instance: Instance) -> None:
    plugin = Listening()

    async def scenario() -> None:
        async with running_host(instance, channel=RecorderChannel(refused=["eve"]), listening=plugin) as running:
            await running.channel.say("hi", room="elsewhere")
            await running.channel.say("hi", sender="eve")
            await running.channel.say("hi")
            await running.channel.texts(1)
            running.channel.troubles = [DeliveryRefused("closed")]
            await running.channel.say("again")
            await until(lambda: plugin.events[-1].startswith("failed"))

    asyncio.run(scenario())
    assert plugin.events == [
        "started",
        "unknown elsewhere False",
        "refused recorder:eve: a stranger",
        "routed room ses- msg-",
        "delivered room recorder-1",
        "routed room ses- msg-",
        "failed room: closed",
        "stopping",
    ]


def test_action_answer_is_kept_for_a_dead_runner(instance: Instance) -> None:
    async def asks_and_dies(runner: FakeRunner) -> int:
        await runner.take()
        runner.write({"action": "shout", "request_id": "r", "arguments": {}}, kind=OutKind.ACTION)
        return 1

    async def scenario() -> None:
        runtime = ScriptedRuntime(asks_and_dies)
        async with running_host(instance, runtime=runtime, shouting=Shouting()) as running:
            await running.channel.say("go")
            await until(lambda: system_rows(instance))

    asyncio.run(scenario())


def system_rows(instance: Instance) -> int:
    with contextlib.suppress(OSError, ValueError):
        (path,) = (instance.paths.home / "sessions").glob("*/in/inbound.db")
        db = session_files.open_readable(path)
        try:
            rows = db.execute("SELECT id FROM messages_in WHERE kind = ?", (inbound.Kind.SYSTEM.value,)).fetchall()
        finally:
            db.close()
        return len(rows)
    return 0


@pytest.mark.parametrize("hook", ["nanoclaw_message_routed", "nanoclaw_host_started", "nanoclaw_host_stopping"])
def test_failing_notify_hook_stops_nothing(instance: Instance, hook: str) -> None:
    def fail(self: object) -> None:
        raise OSError("broken")

    broken = type("Broken", (), {hook: hookimpl(fail)})()

    async def scenario() -> list[str]:
        async with running_host(instance, broken=broken) as running:
            await running.channel.say("hello")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hello"]
