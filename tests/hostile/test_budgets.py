"""Budgets of sandboxes: everything that a sandbox can make the host store has a limit (audit S4)."""

import asyncio
import json
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
from hostile_sandbox import ATTACKER, HONEST, AttackedHost, attacked_host, budgets, session_of
from nanoclaw_wire.content import Malformed, read_message
from nanoclaw_wire.outbound import OutKind

from nanoclaw_core import Access, Action, Caller, hookimpl, inspect_instance
from nanoclaw_core.actions import MAX_ANSWER_CHARACTERS
from nanoclaw_core.testing.hosting import running_host, until
from nanoclaw_core.testing.instance import Instance
from nanoclaw_core.testing.scripted import FakeRunner

pytestmark = pytest.mark.invariant(number=14)
PAGES, PAGE = 50, "x" * 4_000


async def write_pages(runner: FakeRunner) -> None:
    for number in range(PAGES):
        runner.write({"text": f"{number} {PAGE}"}, channel="recorder", room=ATTACKER)


class LongAnswers:
    """A plugin with the action `long`, which answers with a long text."""

    def __init__(self, length: int) -> None:
        self._length = length

    @hookimpl
    def nanoclaw_actions(self) -> Iterable[Action]:
        yield Action(name="long", access=Access.ALLOWED, run=self._run)

    async def _run(self, _arguments: object, _caller: Caller, _context: object) -> str:
        return "x" * self._length


def has_answer(runner: FakeRunner, request_id: str) -> bool:
    query = "SELECT 1 FROM messages_in WHERE content ->> '$.request_id' = ?"
    return runner.received.execute(query, (request_id,)).fetchone() is not None


def received(host: AttackedHost) -> list[dict[str, Any]]:
    """Return the content of everything that the attacker's session has received."""
    inbox = host.running.host.components.mailbox.inbox.read(session_of(host.running.instance, ATTACKER))
    return [json.loads(text) for (text,) in inbox.execute("SELECT content FROM messages_in ORDER BY seq")]


def notes(host: AttackedHost) -> list[str]:
    return [content["text"] for content in received(host) if "which is the limit" in content.get("text", "")]


def stored(instance: Instance) -> tuple[int, int]:
    """Return the number and the size of the attacker's stored messages."""
    query = "SELECT count(*), coalesce(sum(length(content)), 0) FROM deliveries WHERE session_id = ?"
    counts: tuple[int, int] = instance.db.execute(query, (session_of(instance, ATTACKER),)).get
    return counts


async def flood(instance: Instance) -> list[str]:
    """Let a sandbox write its pages, and return the notes that it got; the honest room works meanwhile."""
    async with attacked_host(instance, write_pages) as host:
        await host.running.channel.say("hi", room=ATTACKER)
        cursor = "SELECT outbound_seq FROM sessions WHERE id = ?"
        written = 2 * PAGES + 1  # and the answer
        await until(lambda: instance.db.execute(cursor, (session_of(instance, ATTACKER),)).get >= written)
        await host.honest_answer("after")
        await until(lambda: notes(host))
        await host.text_in(ATTACKER, "The agent wrote more than it may")
        return notes(host)


@budgets(session_bytes_per_day=30_000)
def test_bytes_of_a_session_are_limited(limited: Instance) -> None:
    (note,) = asyncio.run(flood(limited))
    assert "this session wrote 30000 bytes today" in note
    count, size = stored(limited)
    assert count == PAGES + 1
    assert size < 30_000 + 2 * count


@budgets(session_rows_per_day=10)
def test_rows_of_a_session_are_limited(limited: Instance) -> None:
    (note,) = asyncio.run(flood(limited))
    assert "this session wrote 10 rows today" in note
    assert stored(limited)[0] == 10


@budgets(room_bytes_per_day=30_000)
def test_bytes_for_a_room_are_limited(limited: Instance) -> None:
    (note,) = asyncio.run(flood(limited))
    assert "30000 bytes to this room" in note
    assert stored(limited)[1] < 35_000


@budgets(room_bytes_per_day=30_000)
def test_forbidden_rows_use_up_no_room(limited: Instance) -> None:
    """Else a session ends the service of a room that it may not write to."""

    async def attack(runner: FakeRunner) -> None:
        for number in range(PAGES):
            runner.write({"text": f"{number} {PAGE}"}, channel="recorder", room=HONEST)

    async def scenario() -> list[str]:
        async with attacked_host(limited, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")
            await host.honest_answer("after")
            return host.texts(HONEST)

    assert asyncio.run(scenario()) == ["echo: before", "echo: after"]


@budgets(session_rows_per_day=10)
def test_rows_beyond_the_budget_are_not_read(limited: Instance) -> None:
    """The cursor passes them, so that a dead sandbox gives its slot back at once."""

    async def attack(runner: FakeRunner) -> None:
        for number in range(20):
            runner.write({"text": f"{number}"}, channel="recorder", room=ATTACKER)
        await until(lambda: limited.db.execute("SELECT max(rows) FROM usage").get > 10)
        for _ in range(200):
            runner.write("[" * 90_000, channel="recorder", room=ATTACKER)

    async def scenario() -> int:
        async with attacked_host(limited, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            cursor = "SELECT outbound_seq FROM sessions WHERE id = ?"
            await until(lambda: limited.db.execute("SELECT max(outbound_seq) FROM sessions").get >= 2 * 220)
            await host.honest_answer("after")
            assert limited.db.execute(cursor, (session_of(limited, ATTACKER),)).get >= 2 * 220
            rows: int = limited.db.execute("SELECT max(rows) FROM usage").get
            return rows

    assert asyncio.run(scenario()) < 120


def test_nested_row_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Malformed, match="at most 100000 brackets"):
        read_message("card", '{"card": [' + "[]," * 2_500_000 + "[]]}")


@budgets(instance_bytes=600_000, session_bytes_per_day=1_000_000)
def test_size_of_the_instance_is_limited(limited: Instance) -> None:
    limited.db.execute("CREATE TABLE ballast (content BLOB) STRICT")
    limited.db.execute("INSERT INTO ballast VALUES (zeroblob(450_000))")
    (note,) = asyncio.run(flood(limited))
    assert "fill 600000 bytes" in note
    pages, size = limited.db.pragma("page_count"), limited.db.pragma("page_size")
    assert pages * size < 1_000_000


@budgets(session_bytes_per_day=30_000)
def test_budget_of_a_session_outlives_its_host(limited: Instance) -> None:
    asyncio.run(flood(limited))
    before = stored(limited)[1]

    async def next_host() -> None:
        async with running_host(limited) as running:
            await running.channel.say("hi", room=ATTACKER)
            await until(lambda: stored(limited)[0] == PAGES + 2)

    asyncio.run(next_host())
    assert stored(limited)[1] == before + len("{}")


@budgets(session_bytes_per_day=30_000)
def test_full_budget_is_shown_to_the_operator(limited: Instance) -> None:
    (limited.paths.home / "nanoclaw.toml").write_text("[core.budgets]\nsession_bytes_per_day = 30_000\n")
    asyncio.run(flood(limited))
    inspection = asyncio.run(inspect_instance(limited.paths.home, {}))
    assert inspection.full_budgets.value is not None
    (line,) = inspection.full_budgets.value
    assert line.startswith(f"session {session_of(limited, ATTACKER)}: ")


@budgets(session_bytes_per_day=2_000)
def test_request_beyond_the_budget_is_answered(limited: Instance) -> None:
    async def attack(runner: FakeRunner) -> None:
        for number in range(20):
            request: dict[str, object] = {
                "action": "ncl",
                "request_id": f"r{number}",
                "arguments": {"words": ["x" * 150], "options": {}},
            }
            runner.write(request, kind=OutKind.ACTION)

    async def scenario() -> list[dict[str, Any]]:
        async with attacked_host(limited, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await until(lambda: any(content.get("request_id") == "r19" for content in received(host)))
            return received(host)

    answers = {content["request_id"]: content for content in asyncio.run(scenario()) if "request_id" in content}
    assert "there is no command" in json.dumps(answers["r0"])
    assert "this session wrote 2000 bytes today" in json.dumps(answers["r19"])


@budgets(session_bytes_per_day=20_000)
def test_answers_count_for_the_session(limited: Instance) -> None:
    """The requests alone are within the budget; their answers are not."""

    async def attack(runner: FakeRunner) -> None:
        for number in range(20):
            runner.write({"action": "long", "request_id": f"r{number}"}, kind=OutKind.ACTION)
            await until(partial(has_answer, runner, f"r{number}"))

    async def scenario() -> list[dict[str, Any]]:
        async with attacked_host(limited, attack, long=LongAnswers(4_000)) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await until(lambda: any(content.get("request_id") == "r19" for content in received(host)))
            return received(host)

    answers = [content for content in asyncio.run(scenario()) if "request_id" in content]
    assert sum(len(json.dumps(answer)) for answer in answers) < 40_000


def test_answer_that_is_too_long_is_refused(instance: Instance) -> None:
    async def attack(runner: FakeRunner) -> None:
        runner.write({"action": "long", "request_id": "r"}, kind=OutKind.ACTION)

    async def scenario() -> list[dict[str, Any]]:
        async with attacked_host(instance, attack, long=LongAnswers(MAX_ANSWER_CHARACTERS)) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await until(lambda: any(content.get("request_id") == "r" for content in received(host)))
            return received(host)

    (answer,) = [content for content in asyncio.run(scenario()) if "request_id" in content]
    assert "Ask for less" in answer["error"]["message"]


@pytest.mark.parametrize("column", ["room", "channel", "thread", "in_reply_to", "deliver_after"])
def test_long_columns_of_a_row_are_cut(instance: Instance, column: str) -> None:
    """Only the content counts for the budget, so nothing else may be long."""

    async def attack(runner: FakeRunner) -> None:
        columns = {"channel": "recorder", "room": ATTACKER, column: "r" * 2_000_000}
        runner.write({"text": "boo"}, **columns)

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")

    asyncio.run(scenario())
    pages, size = instance.db.pragma("page_count"), instance.db.pragma("page_size")
    assert pages * size < 1_000_000


def test_refused_message_is_cut(instance: Instance) -> None:
    async def attack(runner: FakeRunner) -> None:
        runner.write({"text": PAGE}, channel="recorder", room=HONEST)

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")

    asyncio.run(scenario())
    content = instance.db.execute("SELECT content FROM deliveries WHERE status = 'failed'").get
    assert len(content) < 2_200
