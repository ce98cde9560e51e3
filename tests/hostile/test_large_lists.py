"""Lists of large rows, large held requests and many requests at once: each has a limit before the work."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import nanoclaw_resource_approvals.host as approvals
import nanoclaw_resource_configs.host as configs
import nanoclaw_resource_registry.host as registry
import pytest
from hostile_sandbox import ATTACKER, AttackedHost, answers, attacked_host
from nanoclaw_wire.outbound import OutKind

from nanoclaw_core import Access, Action, Parameter, Verb, hookimpl
from nanoclaw_core.delivery.outbox_poller import MAX_RUNNING_REQUESTS
from nanoclaw_core.guard import MAX_HELD
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner

pytestmark = pytest.mark.invariant(number=14)
PLUGINS: dict[str, Any] = {"approvals": approvals, "configs": configs, "registry": registry}
LIST = ("approvals", "list")
REQUESTS = 60


class Waiting:
    """A plugin with the action `wait`, which waits until the test ends all of them."""

    def __init__(self) -> None:
        self.running = self.most = self.ended = 0
        self.may_end = asyncio.Event()

    @hookimpl
    def nanoclaw_actions(self) -> Iterable[Action]:
        yield Action(name="wait", access=Access.ALLOWED, run=self._run)

    async def _run(self, *_: object) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.may_end.wait()
        self.running, self.ended = self.running - 1, self.ended + 1


class Describing:
    """A plugin with a request that describes its effect at length."""

    @hookimpl
    def nanoclaw_verbs(self) -> Iterable[Verb]:
        async def run(*_: object) -> None: ...

        def preview(*_: object) -> dict[str, str]:
            return {"text": "x" * 400_000}

        yield Verb(
            resource="scrolls",
            name="unroll",
            access=Access.NEEDS_APPROVAL,
            run=run,
            preview=preview,
            parameters=(Parameter(name="group"),),
            scope_parameter="group",
        )


def ncl(request_id: str, *words: str, **options: str) -> dict[str, Any]:
    return {"action": "ncl", "request_id": request_id, "arguments": {"words": words, "options": options}}


def server(request_id: str, characters: int) -> dict[str, Any]:
    """Return a request that a human must approve, with arguments of about this length."""
    args = json.dumps(["x" * characters])
    return ncl(request_id, "groups", "config", "add-mcp-server", name=request_id, command="c", args=args)


async def ask(host: AttackedHost, runner: FakeRunner, *requests: dict[str, Any]) -> Sequence[str]:
    """Let the attacker make requests, and return the answers in their order."""
    for request in requests:
        runner.write(request, kind=OutKind.ACTION)
    runner.bell.ring()
    last = requests[-1]["request_id"]
    await until(lambda: last in answers(host))
    return [answers(host).get(request["request_id"], "") for request in requests]


async def attackers_runner(host: AttackedHost, runners: list[FakeRunner]) -> FakeRunner:
    await host.running.channel.say("hi", room=ATTACKER)
    await until(lambda: runners)
    return runners[0]


def test_list_of_large_rows_is_refused(instance: Instance) -> None:
    """The attacker and the operator get an error that helps, and a part of the list if they ask for it."""
    runners: list[FakeRunner] = []

    async def scenario() -> None:
        async with attacked_host(instance, hold_runner(runners), **PLUGINS) as host:
            runner = await attackers_runner(host, runners)
            for number in range(REQUESTS):
                await ask(host, runner, server(f"s{number}", 17_500))
            (refused,) = await ask(host, runner, ncl("all", *LIST, columns="all"))
            assert "Ask for fewer --columns or a smaller --limit" in refused
            (shown,) = await ask(host, runner, ncl("some", *LIST, columns="all", limit="3"))
            assert shown.count('"status": "pending"') == 3
            refusal = await host.running.ask(*LIST, columns=["all"])
            assert refusal["error"]["message"] in refused
            assert len((await host.running.ask(*LIST))["data"]) == REQUESTS
            await host.honest_answer("after")

    asyncio.run(scenario())


def test_list_of_large_effects_is_refused(instance: Instance) -> None:
    """The operator's list shows more than the rows hold."""
    runners: list[FakeRunner] = []

    async def scenario() -> None:
        async with attacked_host(instance, hold_runner(runners), describing=Describing(), **PLUGINS) as host:
            runner = await attackers_runner(host, runners)
            await ask(host, runner, *(ncl(f"s{number}", "scrolls", "unroll") for number in range(3)))
            refusal = await host.running.ask(*LIST, columns=["all"])
            assert "a smaller --limit" in refusal["error"]["message"]
            assert (await host.running.ask(*LIST, columns=["all"], limit=2))["ok"]

    asyncio.run(scenario())


def test_large_request_does_not_wait_for_a_human(instance: Instance) -> None:
    runners: list[FakeRunner] = []

    async def scenario() -> None:
        async with attacked_host(instance, hold_runner(runners), **PLUGINS) as host:
            runner = await attackers_runner(host, runners)
            held, refused = await ask(host, runner, server("held", MAX_HELD - 500), server("refused", MAX_HELD))
            assert "waits for a human: apr-" in held
            assert f"at most {MAX_HELD} can wait" in refused
            await host.honest_answer("after")

    asyncio.run(scenario())
    assert instance.db.execute("SELECT count(*) FROM approvals").get == 1


def test_requests_of_a_session_wait_for_their_turn(instance: Instance) -> None:
    """A few may hang, and hold up no other session."""
    runners: list[FakeRunner] = []

    async def scenario() -> Waiting:
        waiting = Waiting()
        async with attacked_host(instance, hold_runner(runners), waiting=waiting) as host:
            runner = await attackers_runner(host, runners)
            for number in range(REQUESTS):
                runner.write({"action": "wait", "request_id": f"w{number}", "arguments": {}}, kind=OutKind.ACTION)
            runner.bell.ring()
            await until(lambda: waiting.running)
            await host.honest_answer("meanwhile")
            waiting.may_end.set()
            await until(lambda: waiting.ended == REQUESTS)
            await host.honest_answer("after")
        return waiting

    assert asyncio.run(scenario()).most == MAX_RUNNING_REQUESTS


def hold_runner(runners: list[FakeRunner]) -> Any:
    """Return an attack that gives its runner to the test, and never returns."""

    async def attack(runner: FakeRunner) -> None:
        runners.append(runner)
        await asyncio.Event().wait()

    return attack
