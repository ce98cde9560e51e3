"""The host that is killed: a whole one, with a channel to a platform outside and sandboxes that are real runners."""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cattrs
import nanoclaw_provider_mock.host as mock
import nanoclaw_runtime_docker.host as docker
from nanoclaw_wire import layout

from nanoclaw_core import (
    Address,
    Admission,
    Channel,
    Host,
    Inbound,
    Outbound,
    PluginContext,
    Readiness,
    Receive,
    Runtime,
    SandboxExit,
    SandboxPart,
    SandboxSpec,
    Verdict,
    Vote,
    hookimpl,
)
from nanoclaw_core.settings import CoreSettings, Settings


class PlatformChannel:
    """A channel whose platform is another process that outlives us: frames over a unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._taken: dict[str, asyncio.Future[str]] = {}

    @hookimpl
    def nanoclaw_channels(self) -> Iterable[Channel]:
        yield Channel(name="platform", connect=lambda _settings, _context: self)

    @hookimpl
    def nanoclaw_admit_message(self, admission: Admission) -> Verdict:
        return Verdict(Vote.ALLOW, "a test")

    async def listen(self, receive: Receive) -> None:
        reader, self._writer = await asyncio.open_unix_connection(self._path, limit=2**25)
        self._connected.set()
        async with asyncio.TaskGroup() as tasks:
            while line := await reader.readline():
                frame = json.loads(line)
                if "offer" in frame:
                    tasks.create_task(self._offered(receive, frame))
                else:
                    self._taken.pop(frame["taken"]).set_result(frame["id"])

    async def deliver(self, address: Address, message: Outbound) -> str:
        await self._connected.wait()
        taken = self._taken[message.idempotency_key] = asyncio.get_running_loop().create_future()
        self._send({"deliver": message.idempotency_key, "room": address.room, "text": message.text})
        return await taken

    async def _offered(self, receive: Receive, frame: dict[str, Any]) -> None:
        try:
            receipt = await receive(
                Inbound(room=frame["room"], text=frame["text"], sender="ada", message_id=frame["offer"])
            )
        except Exception as error:  # what the platform hears is that nobody took it
            self._send({"refused": frame["offer"], "why": str(error)})
            return
        self._send({"accepted": frame["offer"], "outcome": receipt.outcome.value})

    def _send(self, frame: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(frame).encode() + b"\n")


class ZygoteRuntime:
    """Sandboxes that are real runners in processes of their own, made by the zygote."""

    def __init__(self, path: str) -> None:
        self._path = path

    @hookimpl
    def nanoclaw_runtimes(self) -> Iterable[Runtime]:
        yield Runtime(name="zygote", connect=self._connect)

    async def check(self) -> Readiness:
        return Readiness(ready=True, isolates=True, detail="a test's")

    async def shown_directories(self) -> Sequence[Path]:
        return ()

    async def start(self, spec: SandboxSpec) -> "ZygoteSandbox":
        paths = {mount.target: str(mount.source) for mount in spec.mounts}
        variables = {name: paths.get(value, value) for name, value in spec.environment.items()}
        assert variables[layout.IN_DIR_VARIABLE].startswith("/")
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(json.dumps({"kind": "runner", "environment": variables}).encode() + b"\n")
        return ZygoteSandbox(json.loads(await reader.readline())["pid"], reader, writer)

    async def reap(self) -> int:
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(b'{"kind": "reap"}\n')
        reaped: int = json.loads(await reader.readline())["reaped"]
        writer.close()
        return reaped

    async def close(self) -> None:
        """Connections close with their sandboxes."""

    def _connect(self, _settings: object, _context: PluginContext, _parts: Sequence[SandboxPart]) -> "ZygoteRuntime":
        return self


class ZygoteSandbox:
    """One runner."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pid, self._writer = pid, writer
        self._end = asyncio.create_task(self._watch(reader))

    async def wait(self) -> SandboxExit:
        return await asyncio.shield(self._end)

    async def stop(self, grace_s: float) -> None:
        if not self._end.done():
            signal_quietly(self._pid)
            await asyncio.wait([self._end], timeout=grace_s)
        self._writer.close()  # which ends it
        await asyncio.wait([self._end])

    async def _watch(self, reader: asyncio.StreamReader) -> SandboxExit:
        line = await reader.readline()
        code = json.loads(line)["code"] if line else -signal.SIGKILL
        self._writer.close()
        return SandboxExit(code=code, reason="killed" if code < 0 else "exited")


def signal_quietly(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def main(order: dict[str, Any]) -> int:
    """Run a host until SIGTERM; `order` is what `Series` writes."""
    logging.basicConfig(filename=order["log"], level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    settings = Settings(
        home=Path(order["home"]),
        core=cattrs.structure(order["core"], CoreSettings),
        plugins={"mock": {"echo": True}, **order["plugins"]},
    )

    async def serve() -> None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        plugins = {
            "platform": PlatformChannel(order["platform"]),
            "zygote": ZygoteRuntime(order["zygote"]),
            "mock": mock,
            "docker": docker,
        }
        async with Host(settings, plugins=plugins, environment={}, use_installed_plugins=False):
            await stopping.wait()

    asyncio.run(serve())
    return 0
