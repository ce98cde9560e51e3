"""Faults of a plugin, and an adapter that has one of them at one stage."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from nanoclaw_core import (
    Address,
    Inbound,
    Outbound,
    Readiness,
    Receive,
    Service,
    hookimpl,
)

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


def gateway_at(stage: str) -> Callable[[Fault], Service]:
    return lambda fault: Service(name="faulty", connect=lambda *_: FaultyAdapter(fault, stage), is_gateway=True)
