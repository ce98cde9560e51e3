"""The host that tests kill: a complete host with a channel to the external platform and runners as sandboxes."""

import asyncio
import base64
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
import nanoclaw_runtime_process.host as process
from nanoclaw_wire import layout

from nanoclaw_core import (
    Address,
    Admission,
    Attachment,
    Channel,
    Host,
    Inbound,
    Outbound,
    PluginContext,
    Readiness,
    Receive,
    Runtime,
    SandboxExit,
    SandboxRequirements,
    SandboxSpec,
    Verdict,
    Vote,
    hookimpl,
)
from nanoclaw_core.settings import CoreSettings, Settings

LINE_LIMIT = 2**26
RECONNECT_S = 0.05
CONNECT_S = 1.0  # a host may send before its channel is connected


class AdmitEveryone:
    """A plugin that admits every message, so that a host without the channel differs in nothing else."""

    @hookimpl
    def nanoclaw_admit_message(self, admission: Admission) -> Verdict:
        return Verdict(Vote.ALLOW, "a test")


class PlatformChannel:
    """A channel with threads to a platform in another process, by frames over a unix socket."""

    def __init__(self, path: str, group_rooms: Sequence[str]) -> None:
        self._path, self._group_rooms = path, group_rooms
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._waiting: dict[str, asyncio.Future[str]] = {}

    @hookimpl
    def nanoclaw_channels(self) -> Iterable[Channel]:
        yield Channel(name="platform", connect=lambda _settings, _context: self, has_threads=True)

    async def listen(self, receive: Receive) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                with contextlib.suppress(OSError):
                    await self._serve_connection(receive, tasks)
                await asyncio.sleep(RECONNECT_S)

    async def deliver(self, address: Address, message: Outbound) -> str:
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._connected.wait()
        except TimeoutError:
            raise ConnectionError("not connected") from None
        answer = self._waiting[message.idempotency_key] = asyncio.get_running_loop().create_future()
        files = [{"name": file.name, "content": base64.b64encode(file.content).decode()} for file in message.files]
        self._send(
            {
                "deliver": message.idempotency_key,
                "room": address.room,
                "thread": address.thread,
                "text": message.text,
                "in_reply_to": message.in_reply_to,
                "is_failure": message.is_failure,
                "edit_of": message.edit_of,
                "reaction_to": message.reaction_to,
                "files": files,
            }
        )
        return await answer

    async def _serve_connection(self, receive: Receive, tasks: asyncio.TaskGroup) -> None:
        reader, self._writer = await asyncio.open_unix_connection(self._path, limit=LINE_LIMIT)
        self._connected.set()
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                frame = json.loads(line)
                if "offer" in frame:
                    tasks.create_task(self._receive_offer(receive, frame))
                else:
                    self._resolve(frame)
        finally:
            self._connected.clear()
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the platform hung up"))
            self._waiting.clear()

    def _resolve(self, frame: dict[str, Any]) -> None:
        answer = self._waiting.pop(frame.get("taken") or frame["failed"], None)
        if answer is None or answer.done():
            return  # the host no longer waits
        if "taken" in frame:
            answer.set_result(frame["id"])
        else:
            answer.set_exception(RuntimeError(frame["why"]))

    async def _receive_offer(self, receive: Receive, frame: dict[str, Any]) -> None:
        files = [Attachment(name=file["name"], content=base64.b64decode(file["content"])) for file in frame["files"]]
        try:
            receipt = await receive(
                Inbound(
                    room=frame["room"],
                    thread=frame["thread"],
                    text=frame["text"],
                    sender="ada",
                    message_id=frame["offer"],
                    attachments=files,
                    is_group=frame["room"] in self._group_rooms,
                )
            )
        except Exception as error:  # tell the platform that its message was not stored
            self._send({"refused": frame["offer"], "why": str(error)})
            return
        self._send({"accepted": frame["offer"], "outcome": receipt.outcome.value})

    def _send(self, frame: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(frame).encode() + b"\n")


class ForkedRuntime:
    """A runtime that runs each sandbox as a runner in a process of the fork server."""

    def __init__(self, path: str) -> None:
        self._path = path

    @hookimpl
    def nanoclaw_runtimes(self) -> Iterable[Runtime]:
        yield Runtime(name="forked", connect=self._connect)

    async def check(self) -> Readiness:
        return Readiness(ready=True, isolates=True, detail="a test's")

    async def shown_directories(self) -> Sequence[Path]:
        return ()

    async def start(self, spec: SandboxSpec) -> "ForkedSandbox":
        paths = {mount.target: str(mount.source) for mount in spec.mounts}
        variables = {name: paths.get(value, value) for name, value in spec.environment.items()}
        assert variables[layout.IN_DIR_VARIABLE].startswith("/")
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(json.dumps({"kind": "runner", "environment": variables}).encode() + b"\n")
        return ForkedSandbox(json.loads(await reader.readline())["pid"], reader, writer)

    async def reap(self) -> int:
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(b'{"kind": "reap"}\n')
        reaped: int = json.loads(await reader.readline())["reaped"]
        writer.close()
        return reaped

    async def close(self) -> None:
        """Do nothing: connections close with their sandboxes."""

    def _connect(
        self, _settings: object, _context: PluginContext, _parts: Sequence[SandboxRequirements]
    ) -> "ForkedRuntime":
        return self


class ForkedSandbox:
    """A runner in a process of the fork server."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pid, self._writer = pid, writer
        self._end = asyncio.create_task(self._watch(reader))

    async def wait(self) -> SandboxExit:
        return await asyncio.shield(self._end)

    async def stop(self, grace_s: float) -> None:
        if not self._end.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            await asyncio.wait([self._end], timeout=grace_s)
        self._writer.close()  # the fork server kills the runner when its connection closes
        await asyncio.wait([self._end])

    async def _watch(self, reader: asyncio.StreamReader) -> SandboxExit:
        line = await reader.readline()
        code = json.loads(line)["code"] if line else -signal.SIGKILL
        self._writer.close()
        return SandboxExit(code=code, reason="killed" if code < 0 else "exited")


def main(order: dict[str, Any]) -> int:
    """Run a host until SIGTERM. `Harness.host` writes the order."""
    logging.basicConfig(filename=order["log"], level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    settings = Settings(
        home=Path(order["home"]), core=cattrs.structure(order["core"], CoreSettings), plugins=order["plugins"]
    )

    async def serve() -> None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        plugins = {
            "admit": AdmitEveryone(),
            "forked": ForkedRuntime(order["fork_server"]),
            "mock": mock,
            "docker": docker,
            "process": process,
        }
        if order["has_channel"]:
            plugins["platform"] = PlatformChannel(order["platform"], order["group_rooms"])
        async with Host(settings, plugins=plugins, environment={}, use_installed_plugins=False):
            await stopping.wait()

    asyncio.run(serve())
    return 0
