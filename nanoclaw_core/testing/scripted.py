"""A runtime for tests. Its sandboxes are coroutines that use the real session files and the real doorbell.

With it a test runs the whole host side fast. The runtime contract tests real sandboxes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw
from attrs import define, field
from nanoclaw_wire import clock, inbound, layout, outbound, session_files
from nanoclaw_wire.doorbell import DoorbellClient
from nanoclaw_wire.inbound import InboundMessage
from nanoclaw_wire.layout import Layout
from nanoclaw_wire.outbound import AckStatus, Activity, NewOutbound, OutKind, RunnerState

from nanoclaw_core import (
    PluginContext,
    Provider,
    Readiness,
    Runtime,
    SandboxExit,
    SandboxRequirements,
    SandboxSpec,
    hookimpl,
)

NO_POLL_S = 3_600.0  # a fake runner relies on rings alone, so a missing ring fails the test


@define
class FakeRunner:
    """The argument of a script: the session's files as a runner sees them.

    Args:
        spec: The sandbox that the host requested.
        files: The paths of the session's files.
        bell: The connection to the host's doorbell.
        received: A connection to inbound.db.
        written: A connection to outbound.db.
        is_fresh: True until the first `take`.
    """

    spec: SandboxSpec
    files: Layout
    bell: DoorbellClient
    received: apsw.Connection
    written: apsw.Connection
    is_fresh: bool = True
    _count: int = field(default=0, init=False)
    _done: set[int] = field(factory=set, init=False)

    async def take(self, *, limit: int = 10) -> list[InboundMessage]:
        """Wait for messages that trigger, claim them, and return them with their context."""
        while True:
            messages = self.pending(limit=limit)
            self.is_fresh = False
            if any(message.trigger for message in messages):
                claims = [(message.id, AckStatus.PROCESSING) for message in messages]
                outbound.write(self.written, now=clock.now_text(), acknowledge=claims)
                return messages
            await self.bell.wait(NO_POLL_S)

    def pending(self, *, limit: int = 10) -> list[InboundMessage]:
        """Return the messages that a runner would take now, oldest first."""
        now = clock.now_text()
        while messages := inbound.pending(self.received, now=now, fresh=self.is_fresh, without=self._done, limit=limit):
            settled = outbound.settled(self.written, [message.id for message in messages])
            if not settled:
                break
            self._done.update(message.seq for message in messages if message.id in settled)
        return messages

    def answer(self, messages: Sequence[InboundMessage], text: str, **more: Any) -> None:
        """Reply to the last message that triggers, acknowledge all of them, and ring."""
        last = next((message for message in reversed(messages) if message.trigger), messages[-1])
        address: dict[str, Any] = {"channel": last.channel, "room": last.room, "thread": last.thread}
        self.write({"text": text}, done=messages, **(address | {"in_reply_to": last.id} | more))

    def write(
        self,
        content: dict[str, object] | str,
        *,
        done: Sequence[InboundMessage] = (),
        kind: OutKind = OutKind.CHAT,
        **columns: Any,
    ) -> NewOutbound:
        """Write one outbound row, and ring. `content` may be any text, valid or not."""
        self._count += 1
        text = content if isinstance(content, str) else json.dumps(content)
        row_id = f"{self.spec.name}-{self._count}"
        row = NewOutbound(id=row_id, kind=kind, at=clock.now_text(), content=text, **columns)
        completed = [(message.id, AckStatus.COMPLETED) for message in done]
        outbound.write(self.written, now=clock.now_text(), messages=[row], acknowledge=completed)
        self.idle()
        return row

    def idle(self) -> None:
        """Report that no turn is open, and ring."""
        state = RunnerState(
            activity=Activity.IDLE, tool=None, tool_timeout_s=None, tool_started_at=None, updated_at=clock.now_text()
        )
        outbound.set_runner_state(self.written, state)
        self.bell.ring()


Script = Callable[[FakeRunner], Awaitable[int]]


async def echo(runner: FakeRunner) -> int:
    """Answer every message with its own text, for ever."""
    while True:
        messages = await runner.take()
        texts = [json.loads(message.content)["text"] for message in messages if message.trigger]
        runner.answer(messages, f"echo: {' | '.join(texts)}")


async def silent(_runner: FakeRunner) -> int:
    """Take no message, for ever."""
    await asyncio.Event().wait()
    return 0


async def unanswering(runner: FakeRunner) -> int:
    """Take the first messages, and never answer them."""
    await runner.take()
    return await silent(runner)


class ScriptedRuntime:
    """A runtime and a provider for tests, as one plugin object.

    Args:
        script: Runs as the sandbox. Its return value is the exit code, and an exception is exit code 1.
        readiness: The answer of `check`.
        provider: The provider's name.
        shown: The host directories that its sandboxes would see beside their mounts.
    """

    def __init__(
        self,
        script: Script = echo,
        *,
        readiness: Readiness | None = None,
        provider: str = "scripted",
        shown: Sequence[Path] = (),
    ) -> None:
        self.script, self.provider, self.shown = script, provider, shown
        self.readiness = readiness or Readiness(ready=True, isolates=True, detail="scripted")
        self.specs: list[SandboxSpec] = []
        self.troubles: list[Exception] = []
        self.sandboxes: list[ScriptedSandbox] = []

    @hookimpl
    def nanoclaw_runtimes(self) -> Iterable[Runtime]:
        yield Runtime(name="scripted", connect=self._connect)

    @hookimpl
    def nanoclaw_providers(self) -> Iterable[Provider]:
        yield Provider(name=self.provider, runs_tools=False)

    async def check(self) -> Readiness:
        return self.readiness

    async def shown_directories(self) -> Sequence[Path]:
        return self.shown

    async def start(self, spec: SandboxSpec) -> ScriptedSandbox:
        if self.troubles:
            raise self.troubles.pop(0)
        self.specs.append(spec)
        sandbox = ScriptedSandbox(spec, self.script)
        self.sandboxes.append(sandbox)
        return sandbox

    async def reap(self) -> int:
        return 0

    async def close(self) -> None:
        pass

    def _connect(
        self, _settings: object, _context: PluginContext, _parts: Sequence[SandboxRequirements]
    ) -> ScriptedRuntime:
        return self


class ScriptedSandbox:
    """A coroutine instead of a sandbox."""

    def __init__(self, spec: SandboxSpec, script: Script) -> None:
        self._task = asyncio.create_task(_run(spec, script))

    async def wait(self) -> SandboxExit:
        await asyncio.wait([self._task])
        if self._task.cancelled():
            return SandboxExit(code=-15, reason="stopped")
        if (error := self._task.exception()) is not None:
            return SandboxExit(code=1, reason="exited", stderr_tail=str(error))
        return SandboxExit(code=self._task.result(), reason="exited")

    async def stop(self, _grace_s: float) -> None:
        await self.kill()

    async def kill(self) -> None:
        """End the sandbox as a crash does, without a request of the host."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def _run(spec: SandboxSpec, script: Script) -> int:
    files = Layout(incoming=_source(spec, layout.SANDBOX_IN), outgoing=_source(spec, layout.SANDBOX_OUT))
    bell = DoorbellClient(files.bell)
    with contextlib.ExitStack() as opened:
        written = session_files.open_writable(files.outbound_db)
        opened.callback(written.close)
        outbound.acquire(written, runner=spec.name, now=clock.now_text())
        received = session_files.open_readable(files.inbound_db)
        opened.callback(received.close)
        await bell.open()
        try:
            runner = FakeRunner(spec=spec, files=files, bell=bell, received=received, written=written)
            return await script(runner)
        except Exception:  # a script that raises counts as a runner that died
            return 1
        finally:
            await bell.close()


def _source(spec: SandboxSpec, target: str) -> Path:
    return next(mount.source for mount in spec.mounts if mount.target == target)
