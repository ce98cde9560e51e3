"""Every stage of a plugin × every kind of fault: only the plugin stops.

The report names it, and the host continues.

No error boundary inside one process can stop a synchronous hook that never returns (see `docs/security.md`), so the
matrix has no such fault. Asynchronous code may hang, and delays only its own callers.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from plugin_faults import (
    ASYNC,
    SYNC,
    Fault,
    FaultyAdapter,
    Hooks,
    as_coroutine,
    gateway_at,
    ignores_cancellation,
    raises,
    returns_wrong_type,
)

from nanoclaw_core import (
    Channel,
    Migration,
    Provider,
    Roster,
    Runtime,
    Service,
    Sweep,
    hookspecs,
)
from nanoclaw_core.lock import InstanceLock
from nanoclaw_core.testing.hosting import running_host
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.recorder import RecorderChannel
from nanoclaw_core.timing import Timing


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


STAGES = {
    **{
        f"collect {hook}": collecting(f"nanoclaw_{hook}")
        for hook in (
            "channels", "providers", "runtimes", "services", "sandbox_requirements", "resources", "verbs", "actions",
            "approval_handlers", "rosters", "sweeps", "migrations",
        )
    },
    "halfway through channels": halfway("nanoclaw_channels"),
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


def test_matrix_covers_every_hook() -> None:
    tests = Path(__file__).parent
    source = "".join(
        (tests / name).read_text(encoding="utf-8") for name in (Path(__file__).name, "test_faulty_calls.py")
    )
    hooks = {name for name in vars(hookspecs) if name.startswith("nanoclaw_")}
    missing = {name for name in hooks if name not in source and f'"{name.removeprefix("nanoclaw_")}"' not in source}
    # The other votes have the same error boundary, which tests/core/test_plugin_hooks.py tests.
    assert missing == {f"nanoclaw_permit_{subject}" for subject in ("delivery", "action")}


@pytest.mark.parametrize(("name", "fault"), CASES, ids=named)
def test_fault_at_any_stage_stops_only_the_plugin(instance: Instance, name: str, fault: Fault) -> None:
    stage = STAGES[name]
    plugin = stage.build(fault)

    async def scenario() -> dict[str, str]:
        timing = Timing(runtime_check_s=0.5)  # a check that hangs delays the start for this time
        channel = RecorderChannel(refused=["eve"])
        async with running_host(instance, channel=channel, timing=timing, faulty=plugin) as running:
            await running.channel.say("hi", room="unknown")
            await running.channel.say("hi", sender="eve")
            for number in range(2):
                await running.channel.say(f"hi {number}")
                await running.channel.texts(number + 1)
            return {report.name: report.state.value for report in running.host.plugins.reports()}

    states = asyncio.run(scenario())
    lock = InstanceLock(instance.paths.run)
    lock.acquire()  # the next host can start, even if the plugin ignored the stop
    lock.release()
    assert states.pop("faulty") == ("failed" if stage.fails_the_plugin else "active")
    assert set(states.values()) == {"active"}
