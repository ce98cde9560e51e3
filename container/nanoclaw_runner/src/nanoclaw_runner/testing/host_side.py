"""Plays the host for tests of runners and runner plugins: real files, a real doorbell, a real process.

async with HostSide(tmp_path, provider="mock") as host:
    await host.start()
    host.say("hello")
    [reply] = await host.replies(1)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import apsw
from attrs import evolve
from nanoclaw_wire import clock, inbound, layout, outbound, session_files
from nanoclaw_wire.config import RunnerConfig, write_config
from nanoclaw_wire.doorbell import DoorbellServer
from nanoclaw_wire.inbound import Destination, Kind, NewInbound, Routing, Status
from nanoclaw_wire.layout import Layout
from nanoclaw_wire.outbound import AckStatus, OutboundMessage

from nanoclaw_runner.plugins import RunnerPlugins, load_installed
from nanoclaw_runner.runner import Runner
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_runner.workspace import Workspace

FAMILY = Destination(name="family", kind="channel", channel="chat", room="r1", display_name="Family")
WORK = Destination(name="work", kind="channel", channel="chat", room="r2")
PEER = Destination(name="peer", kind="agent", agent_group_id="ag-peer")
PATIENCE_S = 30.0  # a machine that runs many tests at once is slow; only a failing test waits this long

Answer = TypeVar("Answer")


class HostSide:
    """The host's side of one session.

    Args:
        directory: An empty directory for the session's files.
        provider: The name of the provider.
        options: The options of the provider's host half.
        destinations: The named addresses of the agent.
        with_bell: False if the runner must poll.
        config: Further fields of the `RunnerConfig`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        provider: str = "mock",
        options: Mapping[str, str] | None = None,
        destinations: Sequence[Destination] = (FAMILY, WORK, PEER),
        with_bell: bool = True,
        **config: Any,
    ) -> None:
        self.files = Layout.below(directory)
        self.workspace = Workspace(files=self.files, agent=directory / "agent", extra=directory / "extra")
        self._temporary = directory / "tmp"  # temporary files of a killed runner vanish with the directory
        for path in (
            self.files.incoming,
            self.files.outgoing,
            self.workspace.agent,
            self.files.outbox,
            self._temporary,
        ):
            path.mkdir(parents=True)
        self.config = RunnerConfig(
            session_id="ses-test",
            agent_group_id="ag-test",
            group_name="Test",
            provider=provider,
            provider_options=dict(options or {}),
            **config,
        )
        session_files.create_inbound(self.files.inbound_db)
        self.inbound: apsw.Connection = session_files.open_writable(self.files.inbound_db)
        session_files.create_outbound(self.files.outbound_db)
        inbound.set_destinations(self.inbound, destinations)
        inbound.set_routing(self.inbound, Routing(channel="chat", room="r1"))
        self.configure()
        self.bell = DoorbellServer(self.files.bell, self._rung) if with_bell else None
        self.process: asyncio.subprocess.Process | None = None
        self.stderr = b""
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._count = 0

    async def __aenter__(self) -> HostSide:
        if self.bell is not None:
            await self.bell.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.exit_code()
        if self.bell is not None:
            await self.bell.close()
        self.inbound.close()

    def configure(self, **config: Any) -> None:
        """Change fields of the configuration; the next runner reads them."""
        self.config = evolve(self.config, **config)
        self.files.config.write_text(write_config(self.config), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Return the variables that a runtime sets for the sandbox."""
        return {
            layout.IN_DIR_VARIABLE: str(self.files.incoming),
            layout.OUT_DIR_VARIABLE: str(self.files.outgoing),
            layout.AGENT_DIR_VARIABLE: str(self.workspace.agent),
            layout.EXTRA_DIR_VARIABLE: str(self.workspace.extra),
        }

    async def start(
        self, *arguments: str, inherited: Sequence[int] = (), **environment: str
    ) -> asyncio.subprocess.Process:
        """Start a runner in a process of its own.

        Args:
            arguments: For the Python interpreter; empty for the runner's program.
            inherited: File descriptors that the process inherits.
            environment: Further variables.
        """
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(arguments or ("-m", "nanoclaw_runner")),
            env={**os.environ, "TMPDIR": str(self._temporary), **self.environment(), **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=inherited,
        )
        self.stderr = b""
        self._reading = asyncio.create_task(self._read(self.process))
        return self.process

    @contextlib.asynccontextmanager
    async def running(
        self, *, timeouts: Timeouts | None = None, plugins: RunnerPlugins | None = None
    ) -> AsyncIterator[Runner]:
        """Run a runner in this process, with given timeouts and plugins; stop it at the end."""
        runner = Runner(
            workspace=self.workspace,
            config=self.config,
            plugins=plugins or load_installed(),
            environment=self.environment(),
            timeouts=timeouts,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run())
            try:
                yield runner
            finally:
                runner.stop()

    async def stop(self) -> int:
        """Stop the runner as a runtime does, and return its exit code."""
        assert self.process is not None, "no runner was started"
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        """Wait for the runner to end."""
        assert self.process is not None, "no runner was started"
        assert self._reading is not None
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await self._reading
        return code

    def say(self, text: str, **fields: Any) -> str:
        """Write a chat message from room r1 and ring; return its id."""
        return self.put(json.dumps({"text": text, "sender": "Ann"}), **fields)

    def put(self, content: str, **fields: Any) -> str:
        """Write a row and ring; return its id."""
        return self.put_all([self.row(content, **fields)])[0]

    def row(self, content: str, **fields: Any) -> NewInbound:
        """Make a row; without `fields` it is a chat message from room r1."""
        self._count += 1
        usual = {"id": f"in-{self._count}", "kind": Kind.CHAT, "at": clock.now_text(), "channel": "chat", "room": "r1"}
        return NewInbound(**{**usual, "content": content, **fields})

    def put_all(self, rows: Sequence[NewInbound]) -> list[str]:
        """Write rows in one transaction and ring; return their ids."""
        inbound.append(self.inbound, rows)
        self.ring()
        return [row.id for row in rows]

    def ring(self) -> None:
        """Ring the runner's doorbell."""
        if self.bell is not None:
            self.bell.ring()

    def sent(self) -> list[OutboundMessage]:
        """Return the messages in outbound.db so far."""
        return self.read(lambda db: outbound.messages_after(db, 0, limit=10_000))

    def acknowledged(self) -> dict[str, AckStatus]:
        """Return the acknowledgement of each message, by id."""
        rows = self.read(lambda db: outbound.acknowledgements_after(db, 0, limit=10_000))
        return {row.message_id: row.status for row in rows}

    def doing(self, field: str) -> object:
        """Return a field of the runner's stored state; None if it stored no state yet."""
        return getattr(self.read(outbound.runner_state), field, None)

    def note_acknowledged(self) -> None:
        """Copy the acknowledgements into inbound.db, as a host does later."""
        known = {AckStatus.COMPLETED: Status.COMPLETED, AckStatus.FAILED: Status.FAILED}
        changes = [(message, known[status]) for message, status in self.acknowledged().items() if status in known]
        inbound.set_status(self.inbound, changes)

    def read(self, question: Callable[[apsw.Connection], Answer]) -> Answer:
        """Return the answer of outbound.db to a question."""
        db = session_files.open_readable(self.files.outbound_db)
        try:
            return question(db)
        finally:
            db.close()

    async def until(self, question: Callable[[], Answer]) -> Answer:
        """Wait until a question has a true answer, and return it. Ask at each ring.

        Raises:
            AssertionError: The runner's process ended first; the message is its stderr.
        """
        async with asyncio.timeout(PATIENCE_S):
            while not (answer := question()):
                assert self._reading is None or not self._reading.done(), self.stderr.decode()
                self._news.clear()
                try:
                    async with asyncio.timeout(0.2):  # some changes have no ring: files, or no doorbell
                        await self._news.wait()
                except TimeoutError:
                    continue
        return answer

    async def replies(self, count: int) -> list[OutboundMessage]:
        """Wait for `count` outbound messages, and return all messages."""
        return await self.until(lambda: messages if len(messages := self.sent()) >= count else [])

    async def settled(self, *message_ids: str) -> list[AckStatus]:
        """Wait until messages are completed or failed; return their acknowledgements in order."""

        def ends() -> list[AckStatus]:
            known = self.acknowledged()
            statuses = [known.get(message_id, AckStatus.PROCESSING) for message_id in message_ids]
            return [] if AckStatus.PROCESSING in statuses else statuses

        return await self.until(ends)

    async def logged(self, event: str) -> dict[str, Any]:
        """Wait for an entry of the runner's log with this event, and return the last one."""

        def line() -> dict[str, Any]:
            entries = [entry for entry in self.log() if entry["event"] == event]
            return entries[-1] if entries else {}

        return await self.until(line)

    def log(self) -> list[dict[str, Any]]:
        """Return the entries of the runner's log so far."""
        whole = [line for line in self.stderr.decode().split("\n")[:-1] if line.startswith("{")]
        return [json.loads(line) for line in whole]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(65_536):
            self.stderr += chunk
            self._news.set()

    def _rung(self) -> None:
        self._news.set()


def said(message: OutboundMessage) -> Any:
    """Return the text of an outbound message; None if it has no text."""
    return json.loads(message.content).get("text")
