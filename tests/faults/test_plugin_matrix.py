"""Every stage of a plugin × every kind of fault: only the plugin stops, the report names it, and the host continues.

No error boundary inside one process can stop a synchronous hook that never returns (see `docs/security.md`), so the
matrix has no such fault. Asynchronous code may hang, and delays only its own callers.
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

Fault = Callable[..., Any]


def raises(*_: object) -> Any:
    raise RuntimeError("the plugin's own fault")


def exits(*_: object) -> Any:
    sys.exit("the plugin wants to leave")


def raises_group(*_: object) -> Any:
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


async def hangs(*_: object) -> Any:
    await asyncio.Event().wait()


async def ignores_cancellation(*_: object) -> Any:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def returns_wrong_type(*_: object) -> Any:
    return object()


SYNC = [raises, exits, raises_group]
ASYNC = [*SYNC, hangs]


def as_coroutine(fault: Fault) -> Callable[..., Awaitable[Any]]:
    """Return an awaitable form of the fault."""

    async def run(*arguments: object) -> Any:
        result = fault(*arguments)
        return await result if asyncio.iscoroutine(result) else result

    return run


class FaultyAdapter:
    """A channel, runtime or service with a fault at one stage."""

    def __init__(self, fault: Fault, stage: str) -> None:
        self._faults = {stage: as_coroutine(fault)}
        self.was_called = asyncio.Event()

    async def _run_stage(self, stage: str) -> Any:
        if stage in self._faults:
            self.was_called.set()
            return await self._faults[stage]()
        return await asyncio.Event().wait()

    async def listen(self, receive: Receive) -> None:
        if "deliver" in self._faults:
            await receive(Inbound(room="theirs", text="hi", sender="eve"))
        await self._run_stage("listen")

    async def deliver(self, _address: Address, _message: Outbound) -> str | None:
        return await self._run_stage("deliver")  # type: ignore[no-any-return]

    async def run(self) -> None:
        await self._run_stage("run")

    async def check(self) -> Any:
        return (
            await self._faults["check"]()
            if "check" in self._faults
            else Readiness(ready=False, isolates=True, detail="")
        )

    async def shown_directories(self) -> Any:
        return ()

    async def start(self, _spec: object) -> Any:
        return await self._run_stage("start")

    async def reap(self) -> int:
        return await self._faults["reap"]() if "reap" in self._faults else 0  # type: ignore[no-any-return]

    async def close(self) -> None:
        if "close" in self._faults:
            await self._faults["close"]()

    async def open_endpoint(self, _endpoint: object) -> None:
        return None

    async def close_endpoint(self, _session_id: str) -> None:
        if "close_endpoint" in self._faults:
            await self._faults["close_endpoint"]()


class Hooks:
    """A plugin with one hook."""

    def __init__(self, name: str, implementation: Callable[..., Any]) -> None:
        setattr(self, name, hookimpl(implementation))


@frozen
class Stage:
    """A stage of a plugin: the builder of a plugin with a fault there, its faults, and the expected report."""

    build: Callable[[Fault], object]
    faults: list[Fault]
    fails_the_plugin: bool = False


class RaisingSettings:
    """Settings that raise when they are created."""

    def __init__(self) -> None:
        raise RuntimeError("no settings")


def collecting(hook: str) -> Stage:
    def build(fault: Fault) -> object:
        def implementation() -> Iterable[Any]:
            return fault()  # type: ignore[no-any-return]

        return Hooks(hook, implementation)

    return Stage(build, [*SYNC, returns_wrong_type], fails_the_plugin=True)


def halfway(hook: str) -> Stage:
    def build(fault: Fault) -> object:
        def implementation() -> Iterable[Any]:
            yield Channel(name="half", connect=lambda *_: FaultyAdapter(raises, ""))
            fault()

        return Hooks(hook, implementation)

    return Stage(build, SYNC, fails_the_plugin=True)


def offering(hook: str, make: Callable[[Fault], Any], faults: list[Fault], *, fails: bool = False) -> Stage:
    def build(fault: Fault) -> object:
        return Hooks(hook, lambda: [make(fault)])

    return Stage(build, faults, fails_the_plugin=fails)


def notified(hook: str, *names: str) -> Stage:
    def build(fault: Fault) -> object:
        scope: dict[str, Any] = {"fault": fault}
        exec(f"def {hook}({', '.join(names)}): return fault()", scope)
        return Hooks(hook, scope[hook])

    return Stage(build, SYNC)


def channel_at(stage: str) -> Callable[[Fault], Channel]:
    return lambda fault: Channel(name="faulty", connect=lambda *_: FaultyAdapter(fault, stage))


def runtime_at(stage: str) -> Callable[[Fault], Runtime]:
    return lambda fault: Runtime(name="faulty", preference=-1, connect=lambda *_: FaultyAdapter(fault, stage))


def gateway_at(stage: str) -> Callable[[Fault], Service]:
    return lambda fault: Service(name="faulty", connect=lambda *_: FaultyAdapter(fault, stage), is_gateway=True)


STAGES = {
    **{
        f"collect {hook}": collecting(f"nanoclaw_{hook}")
        for hook in (
            "channels", "providers", "runtimes", "services", "sandbox_requirements", "resources", "verbs", "actions",
            "approval_handlers", "rosters", "sweeps", "migrations",
        )
    },
    "adapter-way through channels": halfway("nanoclaw_channels"),
    "settings": offering(
        "nanoclaw_channels",
        lambda _: Channel(name="c", connect=lambda *_: FaultyAdapter(raises, ""), settings=RaisingSettings),
        [raises],
        fails=True,
    ),
    "migration": offering("nanoclaw_migrations", lambda t: Migration(name="0001", apply=t), SYNC, fails=True),
    "connect channel": offering("nanoclaw_channels", lambda t: Channel(name="c", connect=t), SYNC, fails=True),
    "connect runtime": offering("nanoclaw_runtimes", lambda t: Runtime(name="r", connect=t), SYNC, fails=True),
    "connect service": offering("nanoclaw_services", lambda t: Service(name="s", connect=t), SYNC, fails=True),
    "provider upstreams": offering(
        "nanoclaw_providers", lambda t: Provider(name="p", runs_tools=False, upstreams=t), [*SYNC, returns_wrong_type]
    ),
    "listen": offering("nanoclaw_channels", channel_at("listen"), [*ASYNC, ignores_cancellation]),
    "service run": offering(
        "nanoclaw_services",
        lambda t: Service(name="s", connect=lambda *_: FaultyAdapter(t, "run")),
        [*ASYNC, ignores_cancellation],
    ),
    "runtime check": offering("nanoclaw_runtimes", runtime_at("check"), [*ASYNC, returns_wrong_type]),
    "runtime reap": offering("nanoclaw_runtimes", runtime_at("reap"), SYNC),
    "runtime close": offering("nanoclaw_runtimes", runtime_at("close"), ASYNC),
    "gateway close_endpoint": offering("nanoclaw_services", gateway_at("close_endpoint"), ASYNC),
    "sweep": offering("nanoclaw_sweeps", lambda t: Sweep(name="s", every_s=0.01, run=as_coroutine(t)), ASYNC),
    "roster": offering("nanoclaw_rosters", lambda t: Roster(name="r", approvers=t), SYNC),
    "notify routed": notified("nanoclaw_message_routed", "address", "session_id"),
    "notify delivered": notified("nanoclaw_message_delivered", "address", "delivery_id"),
    "notify unknown": notified("nanoclaw_room_unknown", "address", "mentioned"),
    "notify refused": notified("nanoclaw_sender_refused", "admission", "reason"),
    "notify failed": notified("nanoclaw_delivery_failed", "address", "delivery_id", "reason"),
    "notify started": notified("nanoclaw_host_started"),
    "notify stopping": notified("nanoclaw_host_stopping"),
}  # fmt: skip
CASES = [(name, fault) for name, stage in STAGES.items() for fault in stage.faults]


def named(value: str | Fault) -> str:
    return value if isinstance(value, str) else value.__name__


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = make_instance(tmp_path / "home")
    made.wire()
    yield made
    made.db.close()


def test_matrix_covers_every_hook() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    hooks = {name for name in vars(hookspecs) if name.startswith("nanoclaw_")}
    missing = {name for name in hooks if name not in source and f'"{name.removeprefix("nanoclaw_")}"' not in source}
    # The other votes have the same error boundary, which tests/core/test_plugins.py tests.
    assert missing == {f"nanoclaw_permit_{subject}" for subject in ("delivery", "action")}


@pytest.mark.parametrize(("name", "fault"), CASES, ids=named)
def test_fault_at_any_stage_stops_only_the_plugin(instance: Instance, name: str, fault: Fault) -> None:
    stage = STAGES[name]
    plugin = stage.build(fault)

    async def scenario() -> dict[str, str]:
        async with running_host(instance, channel=RecorderChannel(refused=["eve"]), faulty=plugin) as running:
            await running.channel.say("hi", room="unknown")
            await running.channel.say("hi", sender="eve")
            for number in range(2):
                await running.channel.say(f"hi {number}")
                await running.channel.texts(number + 1)
            return {report.name: report.state.value for report in running.host.plugins.reports()}

    states = asyncio.run(scenario())
    lock = InstanceLock(instance.places.run)
    lock.acquire()  # the next host can start, even if the plugin ignored the stop
    lock.release()
    assert states.pop("faulty") == ("failed" if stage.fails_the_plugin else "active")
    assert set(states.values()) == {"active"}


@pytest.mark.parametrize("fault", ASYNC)
def test_gateway_that_fails_to_close_blocks_no_sandbox(
    instance: Instance, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Hooks("nanoclaw_services", lambda: [gateway_at("close_endpoint")(fault)])

    async def answers_once(runner: FakeRunner) -> int:
        runner.answer(await runner.take(), "answered")
        return 0

    async def scenario() -> None:
        runtime = ScriptedRuntime(answers_once)
        async with running_host(instance, runtime=runtime, faulty=gateway) as running:
            for number in range(2):
                await running.channel.say("hi")
                await running.channel.texts(number + 1)

    asyncio.run(scenario())
    assert "sandbox could not be started" not in [record.message for record in caplog.records]
    assert "gateway endpoint could not be closed" in [record.message for record in caplog.records]


@pytest.mark.invariant(number=8)
@pytest.mark.parametrize("fault", [*SYNC, returns_wrong_type])
def test_faulty_vote_denies_and_the_host_continues(instance: Instance, fault: Fault) -> None:
    is_faulty = True

    class Votes:
        @hookimpl
        def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
            assert admission
            return fault() if is_faulty else None  # type: ignore[no-any-return]

    async def scenario() -> tuple[str, list[str]]:
        nonlocal is_faulty
        async with running_host(instance, faulty=Votes()) as running:
            receipt = await running.channel.say("one")
            is_faulty = False
            await running.channel.say("two")
            return receipt.outcome.value, await running.channel.texts(1)

    assert asyncio.run(scenario()) == ("dropped", ["echo: two"])


@pytest.mark.parametrize("fault", ASYNC)
def test_faulty_delivery_delays_only_its_own_channel(instance: Instance, fault: Fault) -> None:
    class Admits:
        @hookimpl
        def nanoclaw_channels(self) -> Iterable[Channel]:
            yield Channel(name="faulty", connect=lambda *_: adapter)

        @hookimpl
        def nanoclaw_admit_message(self, admission: Admission) -> Verdict | None:
            return Verdict(Vote.ALLOW, "a test") if admission.address.channel == "faulty" else None

    adapter = FaultyAdapter(fault, "deliver")
    instance.wire(room="theirs", channel="faulty", folder="other")

    async def scenario() -> list[str]:
        async with running_host(instance, faulty=Admits()) as running:
            await until(adapter.was_called.is_set)
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.parametrize("fault", ASYNC)
def test_faulty_verb_leaves_the_host_running(instance: Instance, fault: Fault) -> None:
    """The caller of a verb that raises gets an error; the caller of a verb that hangs waits alone."""

    class Offers:
        @hookimpl
        def nanoclaw_verbs(self) -> Iterable[Verb]:
            yield Verb(resource="fault", name="make", access=Access.ALLOWED, run=as_coroutine(fault))

        @hookimpl
        def nanoclaw_actions(self) -> Iterable[Action]:
            yield Action(name="fault", access=Access.ALLOWED, run=as_coroutine(fault))

    async def scenario() -> list[str]:
        async with running_host(instance, faulty=Offers()) as running:
            request = asyncio.create_task(send_verb(instance))
            if fault is not hangs:
                assert b'"handler-error"' in await request
            await running.channel.say("hi")
            texts = await running.channel.texts(1)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            return texts

    assert asyncio.run(scenario()) == ["echo: hi"]


async def send_verb(instance: Instance) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(instance.places.control_socket))
    try:
        writer.write(b'{"id": "1", "words": ["fault", "make"], "options": {}}\n')
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def test_channel_that_ends_on_an_error_is_restarted(instance: Instance) -> None:
    """A channel may end with the error of a message that could not be stored; the host starts it again."""

    class FailsOnce(RecorderChannel):
        async def listen(self, receive: Receive) -> None:
            if not self.attempts:
                self.attempts.append(Outbound(idempotency_key="seen"))
                raise NanoclawError("not now")
            await super().listen(receive)

    async def scenario() -> list[str]:
        async with running_host(instance, channel=FailsOnce()) as running:
            await running.channel.say("hi")
            return await running.channel.texts(1)

    assert asyncio.run(scenario()) == ["echo: hi"]
