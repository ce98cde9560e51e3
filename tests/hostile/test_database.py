"""Attacks on outbound.db (I6).

The host refuses or quarantines the attacker's session, and no other session notices.
"""

import asyncio
import json
import os
from collections.abc import Iterable, Sequence

import apsw
import pytest
from hostile_sandbox import ATTACKER, HONEST, AttackedHost, attacked_host, flood, rewrite, ring_and_hang
from nanoclaw_wire import outbound

from nanoclaw_core import Access, Action, Caller, hookimpl
from nanoclaw_core.delivery.outbox_poller import MAX_BACKLOG
from nanoclaw_core.mailbox.outbox import ROW_BATCH
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance, quarantined_sessions
from nanoclaw_core.testing.scripted import FakeRunner

SET_ASIDE = "set them aside"
MAX_SENT_MEANWHILE = 100  # about one for each step of another session's answer; the backlog is 2 000
COLUMNS = "id TEXT, kind TEXT, at TEXT, deliver_after TEXT, in_reply_to TEXT, channel TEXT, room TEXT, thread TEXT"
LIKE_OURS = f"CREATE TABLE messages_out (seq INTEGER PRIMARY KEY, {COLUMNS}, content TEXT)"
A_ROW = "'chat', '2026-01-05T12:00:00.000Z', NULL, NULL, 'recorder', 'attacker', NULL"
FOR_EVER = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
A_HUGE_SCHEMA = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000)"
    " INSERT INTO sqlite_schema SELECT 'table',"
    " 't' || i, 't' || i, 2, 'CREATE TABLE t' || i || ' (a, b, c, d, e, f, g, h)' FROM n"
)
UNREADABLE = {
    "a view that never ends": "DROP TABLE messages_out; CREATE VIEW messages_out AS SELECT i AS seq, i AS id, 'chat' AS"
    " kind, '' AS at, NULL AS deliver_after, NULL AS in_reply_to, NULL AS channel, NULL AS room, NULL AS thread,"
    f" '{{}}' AS content FROM ({FOR_EVER})",
    "a column that is expensive to compute": f"DROP TABLE messages_out; CREATE TABLE messages_out (n INTEGER PRIMARY"
    f" KEY, {COLUMNS}, content TEXT); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)"
    " INSERT INTO messages_out (n, id, kind, at, content) SELECT i, i, 'chat', '', '{}' FROM n;"
    "ALTER TABLE messages_out ADD seq INTEGER AS (instr(hex(zeroblob(3900000 - n % 9)), 'x'))",
    "a huge row": f"DROP TABLE messages_out; {LIKE_OURS};"
    f" INSERT INTO messages_out VALUES (1, 'a', {A_ROW}, printf('%.*c', 20000000, 'x'))",
    "an even number": f"DROP TABLE messages_out; {LIKE_OURS};"
    f" INSERT INTO messages_out VALUES (2, 'a', {A_ROW}, '{{}}')",
    "the largest number": f"DROP TABLE messages_out; {LIKE_OURS};"
    f" INSERT INTO messages_out VALUES (9223372036854775807, 'a', {A_ROW}, '{{}}')",
    "an unknown kind": f"DROP TABLE messages_out; {LIKE_OURS}; INSERT INTO messages_out VALUES"
    f" (1, 'a', {A_ROW.replace('chat', 'telepathy')}, '{{}}')",
    "bytes instead of a text": f"DROP TABLE messages_out; {LIKE_OURS.replace('content TEXT', 'content')};"
    f" INSERT INTO messages_out VALUES (1, 'a', {A_ROW}, x'00ff')",
    "a nonsensical state": "DROP TABLE runner_state; CREATE TABLE runner_state (one, activity, tool,"
    " tool_timeout_s, tool_started_at, updated_at); INSERT INTO runner_state VALUES (1, x'00', 7, 'soon', 1e308, NULL)",
    "a schema that is not SQL": "UPDATE sqlite_schema SET sql = 'CREATE NONSENSE' WHERE name = 'messages_out'",
    "another protocol": "PRAGMA user_version = 7",
}


def test_no_attack_changes_nothing(instance: Instance) -> None:
    """The control of the tests below."""

    async def nothing(_runner: FakeRunner) -> None:
        return

    async def scenario() -> list[str]:
        async with attacked_host(instance, nothing) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "hi")
            return host.texts(ATTACKER)

    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.invariant(number=6)
@pytest.mark.parametrize("sql", UNREADABLE.values(), ids=list(UNREADABLE))
def test_malformed_database_quarantines_only_its_session(
    instance: Instance, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def attack(runner: FakeRunner) -> None:
        await runner.take()
        rewrite(runner, sql)
        await ring_and_hang(runner)

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.honest_answer("meanwhile")
            await host.text_in(ATTACKER, SET_ASIDE)
            await host.text_in(ATTACKER, "echo: hi")
            await host.honest_answer("after")

    asyncio.run(scenario())
    assert len(quarantined_sessions(instance.paths.home / "sessions")) == 1
    messages = [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert messages.count("session quarantined") == 1
    assert len(messages) <= 4, messages


@pytest.mark.invariant(number=6)
def test_triggers_of_a_sandbox_do_not_run(instance: Instance) -> None:
    async def attack(runner: FakeRunner) -> None:
        rewrite(
            runner,
            "CREATE TRIGGER t AFTER INSERT ON messages_out BEGIN INSERT INTO session_state VALUES ('t', 't', 't'); END",
        )

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")
            await host.honest_answer("after")

    asyncio.run(scenario())
    assert quarantined_sessions(instance.paths.home / "sessions") == []


@pytest.mark.invariant(number=6)
def test_huge_schema_stops_no_other_session(instance: Instance) -> None:
    async def attack(runner: FakeRunner) -> None:
        await runner.take()
        rewrite(runner, A_HUGE_SCHEMA)
        await ring_and_hang(runner)

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            for number in range(10):
                await host.honest_answer(f"meanwhile {number}")

    asyncio.run(scenario())


FLOODS = {
    "messages to another room": (A_ROW.replace(ATTACKER, HONEST), '{"text": "boo"}'),
    "messages that are not JSON": (A_ROW, "nonsense"),
    "valid messages": (A_ROW, '{"text": "boo"}'),
    "messages for the far future": (A_ROW.replace("NULL", "'9999-01-01T00:00:00Z'", 1), '{"text": "boo"}'),
    "unknown actions": (
        A_ROW.replace("chat", "action"),
        '{"action": "nonsense", "request_id": "r", "arguments": {}}',
    ),
    "actions that are not JSON": (A_ROW.replace("chat", "action"), "nonsense"),
}


@pytest.mark.invariant(number=6)
@pytest.mark.parametrize(("columns", "content"), FLOODS.values(), ids=list(FLOODS))
def test_flood_of_rows_delays_no_other_session(
    instance: Instance, columns: str, content: str, flood_rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Before an answer in another room the host sends a bounded number of the rows.

    It does not fill the log.
    """

    async def attack(runner: FakeRunner) -> None:
        await runner.take()
        await asyncio.to_thread(flood, runner, flood_rows, content=content, columns=columns)
        await ring_and_hang(runner)

    async def scenario() -> Sequence[str]:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await until(lambda: imported_rows(instance) > 1_000)
            for number in range(3):
                before = len(host.texts(ATTACKER))
                await host.honest_answer(f"meanwhile {number}")
                assert len(host.texts(ATTACKER)) - before <= MAX_SENT_MEANWHILE
            assert imported_rows(instance) < 2 * flood_rows, "the other session had to wait for the end of the flood"
            return host.texts(HONEST)

    assert "boo" not in asyncio.run(scenario())
    refusals = [record for record in caplog.records if "refused" in record.message]
    assert len(refusals) <= 6 * (imported_rows(instance) / (2 * ROW_BATCH) + 2)
    waiting = "SELECT count(*) FROM deliveries WHERE status IN ('queued', 'sending')"
    assert instance.db.execute(waiting).get <= MAX_BACKLOG + ROW_BATCH


def imported_rows(instance: Instance) -> int:
    """Return the highest outbound number that the host has imported.

    The flood uses successive odd numbers.
    """
    highest: int = instance.db.execute("SELECT max(outbound_seq) FROM sessions").get
    return highest


FORGERIES = [
    {"channel": "recorder", "room": HONEST},
    {"channel": "recorder", "room": "nowhere"},
    {"channel": "agent", "room": "unknown"},
    {"channel": None, "room": None},
    {"channel": "recorder", "room": ATTACKER, "in_reply_to": "in-of-another-session"},
    {"channel": "recorder", "room": ATTACKER, "deliver_after": "0001-01-01T00:00:00+23:59"},
    {"channel": "recorder", "room": ATTACKER, "deliver_after": "yesterday"},
    {"channel": "../../etc", "room": "passwd"},
]


@pytest.mark.invariant(number=6)
@pytest.mark.parametrize("forged", FORGERIES, ids=str)
def test_forged_address_or_id_reaches_no_other_room(instance: Instance, forged: dict[str, str | None]) -> None:
    async def attack(runner: FakeRunner) -> None:
        runner.write({"text": "forged"}, **forged)
        await asyncio.sleep(0)

    async def scenario() -> AttackedHost:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")
            await host.honest_answer("after")
            return host

    host = asyncio.run(scenario())
    delivered = host.running.channel.delivered
    assert {sent.address.room for sent in delivered if sent.message.text == "forged"} <= {ATTACKER}
    assert quarantined_sessions(instance.paths.home / "sessions") == []


CONTENTS = [
    "[" * 100_000,
    '{"text": ' + "9" * 5_000 + "}",
    '{"text": NaN}',
    '{"text": "\\ud800"}',
    '{"text": "' + "x" * 1_000_001 + '"}',
    '{"text": "a", "files": ["../../../etc/passwd", 7, null, {"a": 1}]}',
    '{"text": "a", "files": ["' + "n" * 5_000 + '"]}',
    '{"operation": "edit", "seq": 9223372036854775808, "text": "a"}',
    '{"operation": "edit", "seq": 2, "text": "a"}',
    '{"operation": "reaction", "seq": true, "emoji": 7}',
    '{"operation": ["edit"]}',
]


@pytest.mark.invariant(number=6)
@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content[:40])
def test_malformed_content_does_not_block_the_next_row(instance: Instance, content: str) -> None:
    async def attack(runner: FakeRunner) -> None:
        runner.write(content, channel="recorder", room=ATTACKER)

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")
            await host.honest_answer("after")

    asyncio.run(scenario())


@pytest.mark.invariant(number=2)
def test_acknowledgements_of_foreign_ids_change_nothing(instance: Instance) -> None:
    async def attack(runner: FakeRunner) -> None:
        ids = [(f"in-foreign-{number}", outbound.AckStatus.FAILED) for number in range(2_000)]
        outbound.write(runner.written, now="2026-01-05T12:00:00.000Z", acknowledge=ids)

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")

    asyncio.run(scenario())
    statuses = []
    for path in instance.paths.home.glob("sessions/*/in/inbound.db"):
        db = apsw.Connection(str(path))
        statuses += db.execute("SELECT DISTINCT status FROM messages_in").fetchall()
        db.close()
    assert {status for (status,) in statuses} == {"completed"}


@pytest.mark.invariant(number=6)
def test_flood_of_acknowledgements_delays_no_other_session(instance: Instance, flood_rows: int) -> None:
    async def attack(runner: FakeRunner) -> None:
        await runner.take()
        ids = [(f"in-foreign-{number}", outbound.AckStatus.FAILED) for number in range(flood_rows)]
        outbound.write(runner.written, now="2026-01-05T12:00:00.000Z", acknowledge=ids)
        raise RuntimeError("the host imports the rows after this end")

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await until(lambda: imported_acknowledgements(instance))
            await host.honest_answer("meanwhile")
            assert imported_acknowledgements(instance) < flood_rows, "the other session had to wait for the flood's end"
            await host.text_in(ATTACKER, "echo: hi")

    asyncio.run(scenario())


def imported_acknowledgements(instance: Instance) -> int:
    """Return the highest imported revision of the attacker's acknowledgements.

    Revisions are successive numbers.
    """
    highest: int = instance.db.execute(
        "SELECT max(acknowledged_revision) FROM sessions JOIN messaging_groups ON messaging_groups.id ="
        " messaging_group_id WHERE room = ?",
        (ATTACKER,),
    ).get
    return highest


@pytest.mark.invariant(number=6)
@pytest.mark.parametrize("mtime", [2**33, 2**40, -(2**40), 2**61])
def test_heartbeat_with_an_absurd_time_is_harmless(instance: Instance, mtime: int) -> None:
    async def attack(runner: FakeRunner) -> None:
        runner.files.heartbeat.touch()
        try:
            os.utime(runner.files.heartbeat, (0, mtime))
        except OverflowError:
            pytest.skip("this system cannot represent the time")

    async def scenario() -> None:
        async with attacked_host(instance, attack) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")
            await host.running.host.components.sweeper.once()
            await host.honest_answer("after")

    asyncio.run(scenario())


@pytest.mark.invariant(number=7)
def test_caller_claimed_in_an_action_is_ignored(instance: Instance) -> None:
    """The session determines the caller; the row's claims are only arguments."""
    claims = {"caller": {"operator": True}, "session_id": "ses-other", "agent_group_id": "ag-other"}
    row = {"action": "who", "request_id": "r", "arguments": claims, **claims}
    callers: list[Caller] = []

    async def who(_arguments: object, caller: Caller, _context: object) -> None:
        callers.append(caller)

    class WhoPlugin:
        @hookimpl
        def nanoclaw_actions(self) -> Iterable[Action]:
            yield Action(name="who", access=Access.ALLOWED, run=who)

    async def attack(runner: FakeRunner) -> None:
        runner.write(json.dumps(row), kind=outbound.OutKind.ACTION)

    async def scenario() -> None:
        async with attacked_host(instance, attack, who=WhoPlugin()) as host:
            await host.running.channel.say("hi", room=ATTACKER)
            await host.text_in(ATTACKER, "echo: hi")
            await until(lambda: callers)

    asyncio.run(scenario())
    group_id = instance.group(ATTACKER).id
    (session,) = [session for session in instance.sessions() if session.agent_group_id == group_id]
    assert callers == [Caller(session_id=session.id, agent_group_id=session.agent_group_id)]
