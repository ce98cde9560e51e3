"""Every stage of a plugin × what may go wrong in it: it stops itself, is named, and everything else goes on.

A synchronous hook that never returns has no error boundary inside one process: there is no column for it
(`docs/security.md` says so). What is asynchronous may hang, and then only what waits for it waits.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from nanoclaw_core import (
    Access,
    Action,
    Address,
    Admission,
    Channel,
    Inbound,
    Migration,
    NanoclawError,
    Outbound,
    Provider,
    Readiness,
    Receive,
    Roster,
    Runtime,
    Service,
    Sweep,
    Verb,
    Verdict,
    Vote,
    hookimpl,
    hookspecs,
)
from nanoclaw_core.lock import InstanceLock
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance, make_instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime

Trouble = Callable[..., Any]


def raises(*_: object) -> Any:
    raise RuntimeError("the plugin's own trouble")


def exits(*_: object) -> Any:
    sys.exit("the plugin wants to leave")


def raises_a_group(*_: object) -> Any:
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


async def hangs(*_: object) -> Any:
    await asyncio.Event().wait()


async def takes_a_stop_for_an_end(*_: object) -> Any:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def is_wrong(*_: object) -> Any:
    return object()


SYNC = [raises, exits, raises_a_group]
ASYNC = [*SYNC, hangs]


def waiting(trouble: Trouble) -> Callable[..., Awaitable[Any]]:
    """Return the trouble as something to await."""

    async def run(*arguments: object) -> Any:
        found = trouble(*arguments)
        return await found if asyncio.iscoroutine(found) else found

    return run


class Half:
    """The running half of the troublesome channel, runtime or service."""

    def __init__(self, trouble: Trouble, stage: str) -> None:
        self._do = {stage: waiting(trouble)}
        self.was_called = asyncio.Event()

    async def _at(self, stage: str) -> Any:
        if stage in self._do:
            self.was_called.set()
            return await self._do[stage]()
        return await asyncio.Event().wait()

    async def listen(self, receive: Receive) -> None:
        if "deliver" in self._do:
            await receive(Inbound(room="theirs", text="hi", sender="eve"))
        await self._at("listen")

    async def deliver(self, _address: Address, _message: Outbound) -> str | None:
        return await self._at("deliver")  # type: ignore[no-any-return]

    async def run(self) -> None:
        await self._at("run")

    async def check(self) -> Any:
        return await self._do["check"]() if "check" in self._do else Readiness(ready=False, isolates=True, detail="")

    async def shown_directories(self) -> Any:
        return ()

    async def start(self, _spec: object) -> Any:
        return await self._at("start")

    async def reap(self) -> int:
        return await self._do["reap"]() if "reap" in self._do else 0  # type: ignore[no-any-return]

    async def close(self) -> None:
        if "close" in self._do:
            await self._do["close"]()

    async def open_endpoint(self, _door: object) -> None:
        return None

    async def close_endpoint(self, _session_id: str) -> None:
        if "close_endpoint" in self._do:
            await self._do["close_endpoint"]()


class Hooks:
    """A plugin object with one hook."""

    def __init__(self, name: str, implementation: Callable[..., Any]) -> None:
        setattr(self, name, hookimpl(implementation))


@frozen
class Stage:
    """How the trouble is built into a plugin, and what is expected of the report."""

    build: Callable[[Trouble], object]
    troubles: list[Trouble]
    fails_the_plugin: bool = False


class Refusing:
    """Settings that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no settings")


def collecting(hook: str) -> Stage:
    def build(trouble: Trouble) -> object:
        def implementation() -> Iterable[Any]:
            return trouble()  # type: ignore[no-any-return]

        return Hooks(hook, implementation)

    return Stage(build, [*SYNC, is_wrong], fails_the_plugin=True)


def halfway(hook: str) -> Stage:
    def build(trouble: Trouble) -> object:
        def implementation() -> Iterable[Any]:
            yield Channel(name="half", connect=lambda *_: Half(raises, ""))
            trouble()

        return Hooks(hook, implementation)

    return Stage(build, SYNC, fails_the_plugin=True)


def offering(hook: str, make: Callable[[Trouble], Any], troubles: list[Trouble], *, fails: bool = False) -> Stage:
    def build(trouble: Trouble) -> object:
        return Hooks(hook, lambda: [make(trouble)])

    return Stage(build, troubles, fails_the_plugin=fails)


def notified(hook: str, *names: str) -> Stage:
    def build(trouble: Trouble) -> object:
        scope: dict[str, Any] = {"trouble": trouble}
        exec(f"def {hook}({', '.join(names)}): return trouble()", scope)
        return Hooks(hook, scope[hook])

    return Stage(build, SYNC)


def channel_at(stage: str) -> Callable[[Trouble], Channel]:
    return lambda trouble: Channel(name="troubled", connect=lambda *_: Half(trouble, stage))


def runtime_at(stage: str) -> Callable[[Trouble], Runtime]:
    return lambda trouble: Runtime(name="troubled", preference=-1, connect=lambda *_: Half(trouble, stage))


def gateway_at(stage: str) -> Callable[[Trouble], Service]:
    return lambda trouble: Service(name="troubled", connect=lambda *_: Half(trouble, stage), is_gateway=True)


STAGES = {
    **{
        f"collect {hook}": collecting(f"nanoclaw_{hook}")
        for hook in (
            "channels", "providers", "runtimes", "services", "sandbox_requirements", "resources", "verbs", "actions",
            "approval_handlers", "rosters", "sweeps", "migrations",
        )
    },
    "half-way through channels": halfway("nanoclaw_channels"),
    "settings": offering(
        "nanoclaw_channels",
        lambda _: Channel(name="c", connect=lambda *_: Half(raises, ""), settings=Refusing),
        [raises],
        fails=True,
    ),
    "migration": offering("nanoclaw_migrations", lambda t: Migration(name="0001", apply=t), SYNC, fails=True),
    "connect channel": offering("nanoclaw_channels", lambda t: Channel(name="c", connect=t), SYNC, fails=True),
    "connect runtime": offering("nanoclaw_runtimes", lambda t: Runtime(name="r", connect=t), SYNC, fails=True),
    "connect service": offering("nanoclaw_services", lambda t: Service(name="s", connect=t), SYNC, fails=True),
    "provider upstreams": offering(
        "nanoclaw_providers", lambda t: Provider(name="p", runs_tools=False, upstreams=t), [*SYNC, is_wrong]
    ),
    "listen": offering("nanoclaw_channels", channel_at("listen"), [*ASYNC, takes_a_stop_for_an_end]),
    "service run": offering(
        "nanoclaw_services",
        lambda t: Service(name="s", connect=lambda *_: Half(t, "run")),
        [*ASYNC, takes_a_stop_for_an_end],
    ),
    "runtime check": offering("nanoclaw_runtimes", runtime_at("check"), [*ASYNC, is_wrong]),
    "runtime reap": offering("nanoclaw_runtimes", runtime_at("reap"), SYNC),
    "runtime close": offering("nanoclaw_runtimes", runtime_at("close"), ASYNC),
    "gateway close_endpoint": offering("nanoclaw_services", gateway_at("close_endpoint"), ASYNC),
    "sweep": offering("nanoclaw_sweeps", lambda t: Sweep(name="s", every_s=0.01, run=waiting(t)), ASYNC),
    "roster": offering("nanoclaw_rosters", lambda t: Roster(name="r", approvers=t), SYNC),
    "notify routed": notified("nanoclaw_message_routed", "address", "session_id"),
    "notify delivered": notified("nanoclaw_message_delivered", "address", "delivery_id"),
    "notify unknown": notified("nanoclaw_room_unknown", "address", "mentioned"),
    "notify refused": notified("nanoclaw_sender_refused", "admission", "reason"),
    "notify failed": notified("nanoclaw_delivery_failed", "address", "delivery_id", "reason"),
    "notify started": notified("nanoclaw_host_started"),
    "notify stopping": notified("nanoclaw_host_stopping"),
}  # fmt: skip
CASES = [(name, trouble) for name, stage in STAGES.items() for trouble in stage.troubles]


def named(value: str | Trouble) -> str:
    return value if isinstance(value, str) else value.__name__


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "home")
    made.wire()
    yield made
    made.db.close()


def test_no_hook_is_missing_in_the_matrix() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    hooks = {name for name in vars(hookspecs) if name.startswith("nanoclaw_")}
    missing = {name for name in hooks if name not in source and f'"{name.removeprefix("nanoclaw_")}"' not in source}
    # The other votes pass the same fence, which tests/core/test_plugins.py tries.
    assert missing == {f"nanoclaw_permit_{what}" for what in ("delivery", "action")}


@pytest.mark.parametrize(("name", "trouble"), CASES, ids=named)
def test_trouble_at_any_stage_stops_nothing_but_the_plugin(instance: Instance, name: str, trouble: Trouble) -> None:
    stage = STAGES[name]
    plugin = stage.build(trouble)

    async def scenario() -> dict[str, str]:
        async with running_host(instance, channel=RecorderChannel(refused=["eve"]), troubled=plugin) as running:
            await running.channel.say("hi", room="of nobody")
            await running.channel.say("hi", sender="eve")
            for number in range(2):
                await running.channel.say(f"hi {number}")
                await running.channel.texts(number + 1)
            return {report.name: report.state.value for report in running.host.plugins.reports()}

    states = asyncio.run(scenario())
    lock = InstanceLock(instance.places.run)
    lock.acquire()  # however the plugin took the stop, the next host can start
    lock.release()
    assert states.pop("troubled") == ("failed" if stage.fails_the_plugin else "active")
    assert set(states.values()) == {"active"}


@pytest.mark.parametrize("trouble", ASYNC)
def test_a_gateway_that_fails_to_close_a_door_starts_no_sandbox_again(
    instance: Instance, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Hooks("nanoclaw_services", lambda: [gateway_at("close_endpoint")(trouble)])

    async def answers_once(runner: FakeRunner) -> int:
        runner.answer(await runner.take(), "answered")
        return 0

    async def scenario() -> None:
        runtime = ScriptedRuntime(answers_once)
        async with running_host(instance, runtime=runtime, troubled=gateway) as running:
            for number in range(2):
                await running.channel.say("hi")
                await running.channel.texts(number + 1)

    asyncio.run(scenario())
    assert "sandbox could not be started" not in [record.message for record in caplog.records]
    assert "gateway endpoint could not be closed" in [record.message for record in caplog.records]


@pytest.mark.parametrize("trouble", [*SYNC, is_wrong])
def test_invariant_08_a_vote_that_goes_wrong_is_a_no_and_the_host_goes_on(instance: Instance, trouble: Trouble) -> None:
    is_troubled = True

    class Votes:
        @hookimpl
        def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
            assert admission
            return trouble() if is_troubled else None  # type: ignore[no-any-return]

    async def scenario() -> tuple[str, list[str]]:
        nonlocal is_troubled
        async with running_host(instance, troubled=Votes()) as running:
            receipt = await running.channel.say("one")
            is_troubled = False
            await running.channel.say("two")
            return receipt.outcome.value, await running.channel.texts(1)

    assert asyncio.run(scenario()) == ("dropped", ["echo: two"])


@pytest.mark.parametrize("trouble", ASYNC)
def test_a_delivery_that_goes_wrong_holds_up_only_its_own_channel(instance: Instance, trouble: Trouble) -> None:
    class Admits:
        @hookimpl
        def nanoclaw_channels(self) -> Iterable[Channel]:
            yield Channel(name="troubled", connect=lambda *_: half)

        @hookimpl
        def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
            return Verdict(Vote.ALLOW, "a test") if admission.address.channel == "troubled" else None

    half = Half(trouble, "deliver")
    instance.wire(room="theirs", channel="troubled", folder="other")

    async def scenario() -> list[str]:
        async with running_host(instance, troubled=Admits()) as running:
            await until(half.was_called.is_set)
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.parametrize("trouble", ASYNC)
def test_a_verb_or_an_action_that_goes_wrong_is_answered_or_waited_for_and_the_host_goes_on(
    instance: Instance, trouble: Trouble
) -> None:
    class Offers:
        @hookimpl
        def nanoclaw_verbs(self) -> Iterable[Verb]:
            yield Verb(resource="trouble", name="make", access=Access.ALLOWED, run=waiting(trouble))

        @hookimpl
        def nanoclaw_actions(self) -> Iterable[Action]:
            yield Action(name="trouble", access=Access.ALLOWED, run=waiting(trouble))

    async def scenario() -> list[str]:
        async with running_host(instance, troubled=Offers()) as running:
            asked = asyncio.create_task(ask(instance))
            if trouble is not hangs:
                assert b'"handler-error"' in await asked
            await running.channel.say("hi")
            texts = await running.channel.texts(1)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return texts

    assert asyncio.run(scenario()) == ["echo: hi"]


async def ask(instance: Instance) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(instance.places.control_socket))
    try:
        writer.write(b'{"id": "1", "words": ["trouble", "make"], "options": {}}\n')
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_channel_that_fails_to_take_what_it_offers_is_heard_of(instance: Instance) -> None:
    """It may end over the error of a message that could not be stored; the host starts it again."""

    class Own(RecorderChannel):
        async def listen(self, receive: Receive) -> None:
            if not self.attempts:
                self.attempts.append(Outbound(idempotency_key="seen"))
                raise NanoclawError("not now")
            await super().listen(receive)

    async def scenario() -> list[str]:
        async with running_host(instance, channel=Own()) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]
