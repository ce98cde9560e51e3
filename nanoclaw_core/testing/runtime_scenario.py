"""Runs the sandboxes of the runtime contract, and inspects them from the host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve

from nanoclaw_core.descriptors.runtimes import RuntimeAdapter
from nanoclaw_core.descriptors.sandboxes import Sandbox, SandboxSpec
from nanoclaw_core.testing.runtime_place import Place, connect

PATIENCE_S = 60.0
T = TypeVar("T")


def run(place: Place, code: str = "", *, arguments: Sequence[str] = (), spec: SandboxSpec | None = None) -> Any:
    """Run one sandbox to its end, and return its exit."""

    async def scenario() -> Any:
        async with connected(place) as runtime:
            chosen = spec or place.spec(code)
            sandbox = await runtime.start(evolve(chosen, arguments=arguments) if arguments else chosen)
            return await sandbox.wait()

    return patiently(scenario())


def patiently(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario, and fail if it hangs."""

    async def run_limited() -> T:
        async with asyncio.timeout(2 * PATIENCE_S):
            return await scenario

    return asyncio.run(run_limited())


@contextlib.asynccontextmanager
async def connected(place: Place) -> AsyncIterator[RuntimeAdapter]:
    """Create the runtime of a place, and close it at the end."""
    runtime = connect(place)
    try:
        yield runtime
    finally:
        await runtime.close()


async def started(runtime: RuntimeAdapter, spec: SandboxSpec, place: Place) -> Sandbox:
    """Start a sandbox, and wait until its program reports that it is ready."""
    sandbox = await runtime.start(spec)
    async with asyncio.timeout(PATIENCE_S):
        while not (place.outgoing / "ready").exists():  # noqa: ASYNC110  # another process creates it
            await asyncio.sleep(0.01)
    return sandbox


def killed_host(place: Place, *, by_ctrl_c: bool = False) -> None:
    """Start a sandbox with signs of life in another process, and kill that process as kill -9 does.

    Args:
        place: The directories of the sandbox.
        by_ctrl_c: True to interrupt the whole process group of that process instead, as a terminal does.
    """
    program = [sys.executable, "-m", "nanoclaw_core.testing.runtime_place", place.to_text()]
    environment = {**os.environ, **place.environment}
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment, start_new_session=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"started\n"
        if by_ctrl_c:
            os.killpg(host.pid, signal.SIGINT)
        else:
            host.kill()


def writes_on(path: Path) -> bool:
    """Return True if a process still writes to a file: the file is removed, and appears again."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        path.unlink(missing_ok=True)
        quiet_until = time.monotonic() + 0.5
        while not path.exists() and time.monotonic() < quiet_until:
            time.sleep(0.02)
        if not path.exists():
            return False
    return True


@contextlib.asynccontextmanager
async def longest_pause() -> AsyncIterator[list[float]]:
    """Measure the pauses of the event loop, in seconds."""
    pauses = [0.0]

    async def tick() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            pauses.append(time.monotonic() - before - 0.005)

    ticking = asyncio.create_task(tick())
    try:
        yield pauses
    finally:
        ticking.cancel()


def own_address() -> str:
    """Return an address of this machine other than its loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # a documentation address; nothing is sent
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def answer_once(server: socket.socket) -> None:
    """Accept one connection, read its ring, and answer it."""
    connection, _ = server.accept()
    with connection:
        assert connection.recv(9) == b"ring"
        connection.sendall(b"rung")
