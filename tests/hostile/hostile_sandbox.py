"""A host with a hostile session and an honest one side by side."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import apsw
import pytest
from attrs import frozen

from nanoclaw_core import SessionId
from nanoclaw_core.testing.hosting import Running, running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner, ScriptedRuntime, echo

ATTACKER, HONEST = "attacker", "honest"
Script = Callable[[FakeRunner], Awaitable[object]]


@frozen
class AttackedHost:
    """A running host with an attacker's room and an honest one."""

    running: Running

    async def honest_answer(self, text: str) -> None:
        """Send a text in the honest room, and wait for the answer."""
        await self.running.channel.say(text, room=HONEST)
        await until(lambda: f"echo: {text}" in self.texts(HONEST))

    def texts(self, room: str) -> list[str]:
        return [sent.message.text for sent in self.running.channel.delivered if sent.address.room == room]

    async def text_in(self, room: str, part: str) -> str:
        """Wait for a message in a room that contains `part`, and return it."""
        await until(lambda: any(part in text for text in self.texts(room)))
        return next(text for text in self.texts(room) if part in text)


@asynccontextmanager
async def attacked_host(
    instance: Instance, attack: Script, *, once: bool = True, **plugins: object
) -> AsyncIterator[AttackedHost]:
    """Run a host with an honest room and an attacker's room.

    Run `attack` in the attacker's sandbox, which then echoes.

    The attack runs at the first message, or in every sandbox of that room if `once` is False. `plugins` are the test's
    own, by name.
    """
    for room in (ATTACKER, HONEST):
        instance.wire(room=room, folder=room)
    attacks = 0

    async def script(runner: FakeRunner) -> int:
        nonlocal attacks
        if f"-{ATTACKER}-" not in runner.spec.name or (once and attacks):
            return await echo(runner)
        attacks += 1
        await attack(runner)
        runner.bell.ring()
        return await echo(runner)

    async with running_host(instance, runtime=ScriptedRuntime(script), **plugins) as running:
        await AttackedHost(running).honest_answer("before")
        yield AttackedHost(running)


def rewrite(runner: FakeRunner, sql: str) -> None:
    """Run SQL on the attacker's own outbound file, also on its schema."""
    db = apsw.Connection(str(runner.files.outbound_db))
    db.pragma("writable_schema", 1)
    db.execute(sql)
    db.close()


async def ring_and_hang(runner: FakeRunner) -> None:
    """Ring the doorbell, and never return."""
    runner.bell.ring()
    await asyncio.Event().wait()


def flood(runner: FakeRunner, rows: int, *, content: str, columns: str) -> None:
    """Write many rows at once. `columns` are the SQL values from `kind` to `thread`."""
    db = apsw.Connection(str(runner.files.outbound_db))
    db.set_busy_timeout(10_000)  # the host reads the file meanwhile
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 2 FROM n LIMIT ?)"
        f" INSERT INTO messages_out SELECT i + 1000, 'f' || i, {columns}, ? FROM n",
        (rows, content),
    )
    db.close()


def budgets(**values: int) -> pytest.MarkDecorator:
    """Run a test on an instance with these budgets."""
    return pytest.mark.parametrize("limited", [values], indirect=True, ids=[", ".join(values)])


def session_of(instance: Instance, folder: str) -> SessionId:
    """Return the only session of an agent group."""
    group_id = instance.group(folder).id
    (session,) = [session for session in instance.sessions() if session.agent_group_id == group_id]
    return session.id


def answers(host: AttackedHost) -> dict[str, str]:
    """Return the answers to the attacker's requests as JSON texts, by request id."""
    inbox = host.running.host.components.mailbox.inbox.read(session_of(host.running.instance, ATTACKER))
    rows = inbox.execute("SELECT content FROM messages_in")
    return {json.loads(text)["request_id"]: text for (text,) in rows if "request_id" in text}
