"""A terminal channel with a real socket and a real database, and the core's side of it in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from nanoclaw_channel_terminal import rows
from nanoclaw_channel_terminal.adapter import TerminalAdapter
from nanoclaw_channel_terminal.connection import Connection

from nanoclaw_core import Address, Inbound, Outbound, Outcome, PluginContext, Receipt
from nanoclaw_core.store import deliveries
from nanoclaw_core.store.deliveries import Delivery
from nanoclaw_core.store.schema import core_migrations

ROOM = Address("terminal", "local")
WAIT_S = 30.0


class Stage:
    """A channel on an instance directory; what reaches the core is in `received`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "run").mkdir(parents=True, exist_ok=True)
        is_new = not (home / "nanoclaw.db").exists()
        self.database = apsw.Connection(str(home / "nanoclaw.db"))
        if is_new:
            for migration in (*core_migrations(), *rows.MIGRATIONS):
                migration.apply(self.database)
        self.received: list[Inbound] = []
        self.adapter = TerminalAdapter(self._context(), max_line_bytes=1_000_000)
        self.answer: Callable[[Inbound], Any] = lambda _message: None

    def _context(self) -> PluginContext:
        return PluginContext(
            plugin="terminal",
            instance_id="0123456789ab",
            home=self.home,
            data_dir=self.home / "data" / "terminal",
            run_dir=self.home / "run",
            environment={"USER": "ada"},
            database=self.database,
        )

    async def receive(self, message: Inbound) -> Receipt:
        """Stand for the core: keep what came, and answer as the test says."""
        self.received.append(message)
        receipt = self.answer(message)
        return receipt if isinstance(receipt, Receipt) else Receipt(outcome=Outcome.ROUTED, correlation_id="c1")

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Stage]:
        """Listen until the block ends."""
        listening = asyncio.create_task(self.adapter.listen(self.receive))
        async with asyncio.timeout(WAIT_S):
            while not await self._is_listening():
                assert not listening.done(), listening
        try:
            yield self
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            self.database.close()

    async def _is_listening(self) -> bool:
        try:
            connection = await Connection.open(self.home)
        except OSError:
            await asyncio.sleep(0.005)
            return False
        await connection.close()
        return True

    @contextlib.asynccontextmanager
    async def terminal(self) -> AsyncIterator[Connection]:
        """Attach a terminal."""
        connection = await Connection.open(self.home)
        try:
            yield connection
        finally:
            await connection.close()

    def send(self, key: str, text: str = "", **more: Any) -> asyncio.Task[str]:
        """Deliver a message as the core does."""
        return asyncio.create_task(self.adapter.deliver(ROOM, Outbound(idempotency_key=key, text=text, **more)))

    def queue(self, key: str, session: str) -> None:
        """Record a message of a session, as the core does before it delivers it."""
        row = Delivery(
            **{"id": key, "session_id": session, "position": deliveries.next_position(self.database)},
            **{"channel": ROOM.channel, "room": ROOM.room, "thread": None, "kind": "chat", "content": "{}"},
        )
        deliveries.add(self.database, [row])

    def kept(self) -> list[str]:
        """Return the texts that wait for a terminal."""
        return [json.loads(frame)["text"] for frame in rows.kept(self.database)]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def make_stage() -> type[Stage]:
    return Stage


async def _until(connection: Connection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while (frame := await connection.next())["type"] != kind:
            pass
    return frame


@pytest.fixture
def until() -> Callable[[Connection, str], Any]:
    """Read frames until one of a kind comes."""
    return _until
