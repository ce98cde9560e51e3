"""What a sandbox can make of its outbound.db: the session that did it is refused or set aside, others go on (I6)."""

import asyncio
import json
import os
from collections.abc import Iterable, Sequence

import apsw
import pytest
from nanoclaw_wire import outbound
from villainy import HONEST, VILLAIN, Scene, rewrite, ring_and_hang, scene

from nanoclaw_core import Access, Action, Caller, hookimpl
from nanoclaw_core.delivery.outbox_poller import MAX_BACKLOG
from nanoclaw_core.mailbox.outbox import ROWS_AT_ONCE
from nanoclaw_core.testing.hosting import until
from nanoclaw_core.testing.instance import Instance, set_aside_before
from nanoclaw_core.testing.scripted import FakeRunner

SET_ASIDE = "set them aside"
SENT_MEANWHILE = 100  # about one goes out for each step of another session's answer; the backlog is 2 000
COLUMNS = "id TEXT, kind TEXT, at TEXT, deliver_after TEXT, in_reply_to TEXT, channel TEXT, room TEXT, thread TEXT"
LIKE_OURS = f"CREATE TABLE messages_out (seq INTEGER PRIMARY KEY, {COLUMNS}, content TEXT)"
A_ROW = "'chat', '2026-01-05T12:00:00.000Z', NULL, NULL, 'recorder', 'villain', NULL"
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
    "a column that is computed at great cost": f"DROP TABLE messages_out; CREATE TABLE messages_out (n INTEGER PRIMARY"
    f" KEY, {COLUMNS}, content TEXT); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)"
    " INSERT INTO messages_out (n, id, kind, at, content) SELECT i, i, 'chat', '', '{}' FROM n;"
    "ALTER TABLE messages_out ADD seq INTEGER AS (instr(hex(zeroblob(3900000 - n % 9)), 'x'))",
    "a row that is too large": f"DROP TABLE messages_out; {LIKE_OURS};"
    f" INSERT INTO messages_out VALUES (1, 'a', {A_ROW}, printf('%.*c', 20000000, 'x'))",
    "a number that is even": f"DROP TABLE messages_out; {LIKE_OURS};"
    f" INSERT INTO messages_out VALUES (2, 'a', {A_ROW}, '{{}}')",
    "a number that leaves no room": f"DROP TABLE messages_out; {LIKE_OURS};"
    f" INSERT INTO messages_out VALUES (9223372036854775807, 'a', {A_ROW}, '{{}}')",
    "a kind that does not exist": f"DROP TABLE messages_out; {LIKE_OURS}; INSERT INTO messages_out VALUES"
    f" (1, 'a', {A_ROW.replace('chat', 'telepathy')}, '{{}}')",
    "bytes where a text belongs": f"DROP TABLE messages_out; {LIKE_OURS.replace('content TEXT', 'content')};"
    f" INSERT INTO messages_out VALUES (1, 'a', {A_ROW}, x'00ff')",
    "a state that is nonsense": "DROP TABLE runner_state; CREATE TABLE runner_state (one, activity, tool,"
    " tool_timeout_s, tool_started_at, updated_at); INSERT INTO runner_state VALUES (1, x'00', 7, 'soon', 1e308, NULL)",
    "a schema that is no SQL": "UPDATE sqlite_schema SET sql = 'CREATE NONSENSE' WHERE name = 'messages_out'",
    "another protocol": "PRAGMA user_version = 7",
}


def test_the_honest_session_goes_on_and_the_villain_starts_afresh_after(instance: Instance) -> None:
    """The frame of the tests below, without a crime."""

    async def nothing(_runner: FakeRunner) -> None:
        return

    async def scenario() -> list[str]:
        async with scene(instance, nothing) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "hi")
            return seen.texts(VILLAIN)

    assert asyncio.run(scenario()) == ["echo: hi"]


@pytest.mark.parametrize("sql", UNREADABLE.values(), ids=list(UNREADABLE))
def test_invariant_06_what_no_runner_of_ours_writes_sets_its_session_aside_and_nobody_elses(
    instance: Instance, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def crime(runner: FakeRunner) -> None:
        await runner.take()
        rewrite(runner, sql)
        await ring_and_hang(runner)

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.honest_answer("meanwhile")
            await seen.text_in(VILLAIN, SET_ASIDE)
            await seen.text_in(VILLAIN, "echo: hi")
            await seen.honest_answer("after")

    asyncio.run(scenario())
    assert len(set_aside_before(instance.places.home / "sessions")) == 1
    messages = [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert messages.count("session set aside") == 1
    assert len(messages) <= 4, messages


def test_invariant_06_triggers_of_the_sandbox_do_not_run(instance: Instance) -> None:
    async def crime(runner: FakeRunner) -> None:
        rewrite(
            runner,
            "CREATE TRIGGER t AFTER INSERT ON messages_out BEGIN INSERT INTO session_state VALUES ('t', 't', 't'); END",
        )

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "echo: hi")
            await seen.honest_answer("after")

    asyncio.run(scenario())
    assert set_aside_before(instance.places.home / "sessions") == []


def test_invariant_06_a_huge_schema_does_not_stop_the_others(instance: Instance) -> None:
    async def crime(runner: FakeRunner) -> None:
        await runner.take()
        rewrite(runner, A_HUGE_SCHEMA)
        await ring_and_hang(runner)

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            for number in range(10):
                await seen.honest_answer(f"meanwhile {number}")

    asyncio.run(scenario())


def flood(runner: FakeRunner, rows: int, *, content: str, columns: str) -> None:
    db = apsw.Connection(str(runner.files.outbound_db))
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 2 FROM n LIMIT ?)"
        f" INSERT INTO messages_out SELECT i + 1000, 'f' || i, {columns}, ? FROM n",
        (rows, content),
    )
    db.close()


FLOODS = {
    "messages to a room that is not its own": (A_ROW.replace(VILLAIN, HONEST), '{"text": "boo"}'),
    "messages that are no JSON": (A_ROW, "nonsense"),
    "messages that can be sent": (A_ROW, '{"text": "boo"}'),
    "messages for a far future": (A_ROW.replace("NULL", "'9999-01-01T00:00:00Z'", 1), '{"text": "boo"}'),
    "actions that do not exist": (
        A_ROW.replace("chat", "action"),
        '{"action": "nonsense", "request_id": "r", "arguments": {}}',
    ),
    "actions that are no JSON": (A_ROW.replace("chat", "action"), "nonsense"),
}


@pytest.mark.parametrize(("columns", "content"), FLOODS.values(), ids=list(FLOODS))
def test_invariant_06_very_many_rows_delay_nobody_else_and_do_not_fill_the_log(
    instance: Instance, columns: str, content: str, flood_rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the flood a bounded part goes out before an answer in another room, however fast the machine is."""

    async def crime(runner: FakeRunner) -> None:
        await runner.take()
        await asyncio.to_thread(flood, runner, flood_rows, content=content, columns=columns)
        await ring_and_hang(runner)

    async def scenario() -> Sequence[str]:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await until(lambda: taken_of(instance) > 1_000)
            for number in range(3):
                before = len(seen.texts(VILLAIN))
                await seen.honest_answer(f"meanwhile {number}")
                assert len(seen.texts(VILLAIN)) - before <= SENT_MEANWHILE
            assert taken_of(instance) < 2 * flood_rows, "the others had to wait for the end of the flood"
            return seen.texts(HONEST)

    assert "boo" not in asyncio.run(scenario())
    refusals = [record for record in caplog.records if "refused" in record.message]
    assert len(refusals) <= 6 * (taken_of(instance) / (2 * ROWS_AT_ONCE) + 2)
    waiting = "SELECT count(*) FROM deliveries WHERE status IN ('queued', 'sending')"
    assert instance.db.execute(waiting).get <= MAX_BACKLOG + ROWS_AT_ONCE


def taken_of(instance: Instance) -> int:
    """Return the highest number that was taken over of any session; the flood's are odd, one after the other."""
    highest: int = instance.db.execute("SELECT max(outbound_seq) FROM sessions").get
    return highest


FORGERIES = [
    {"channel": "recorder", "room": HONEST},
    {"channel": "recorder", "room": "nowhere"},
    {"channel": "agent", "room": "somebody"},
    {"channel": None, "room": None},
    {"channel": "recorder", "room": VILLAIN, "in_reply_to": "in-of-somebody-else"},
    {"channel": "recorder", "room": VILLAIN, "deliver_after": "0001-01-01T00:00:00+23:59"},
    {"channel": "recorder", "room": VILLAIN, "deliver_after": "yesterday"},
    {"channel": "../../etc", "room": "passwd"},
]


@pytest.mark.parametrize("forged", FORGERIES, ids=str)
def test_invariant_06_a_forged_address_or_id_reaches_nobody_else_and_the_next_row_is_taken(
    instance: Instance, forged: dict[str, str | None]
) -> None:
    async def crime(runner: FakeRunner) -> None:
        runner.write({"text": "forged"}, **forged)
        await asyncio.sleep(0)

    async def scenario() -> Scene:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "echo: hi")
            await seen.honest_answer("after")
            return seen

    seen = asyncio.run(scenario())
    assert all(one.address.room == VILLAIN for one in seen.running.channel.delivered if one.message.text == "forged")
    assert set_aside_before(instance.places.home / "sessions") == []


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


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content[:40])
def test_invariant_06_content_of_any_shape_is_refused_or_sent_and_the_next_row_is_taken(
    instance: Instance, content: str
) -> None:
    async def crime(runner: FakeRunner) -> None:
        runner.write(content, channel="recorder", room=VILLAIN)

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "echo: hi")
            await seen.honest_answer("after")

    asyncio.run(scenario())


def test_invariant_02_acknowledgements_of_foreign_ids_change_nothing(instance: Instance) -> None:
    async def crime(runner: FakeRunner) -> None:
        ids = [(f"in-foreign-{number}", outbound.AckStatus.FAILED) for number in range(2_000)]
        outbound.write(runner.written, now="2026-01-05T12:00:00.000Z", acknowledge=ids)

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "echo: hi")

    asyncio.run(scenario())
    statuses = []
    for path in instance.places.home.glob("sessions/*/in/inbound.db"):
        db = apsw.Connection(str(path))
        statuses += db.execute("SELECT DISTINCT status FROM messages_in").fetchall()
        db.close()
    assert {status for (status,) in statuses} == {"completed"}


def test_invariant_06_very_many_acknowledgements_delay_nobody_else(instance: Instance, flood_rows: int) -> None:
    async def crime(runner: FakeRunner) -> None:
        await runner.take()
        ids = [(f"in-foreign-{number}", outbound.AckStatus.FAILED) for number in range(flood_rows)]
        outbound.write(runner.written, now="2026-01-05T12:00:00.000Z", acknowledge=ids)
        raise RuntimeError("what it did is settled now")

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await until(lambda: settled_of(instance))
            await seen.honest_answer("meanwhile")
            assert settled_of(instance) < flood_rows, "the others had to wait for the end of the flood"
            await seen.text_in(VILLAIN, "echo: hi")

    asyncio.run(scenario())


def settled_of(instance: Instance) -> int:
    """Return the highest revision of any session's acknowledgements that was taken over; each one has the next."""
    highest: int = instance.db.execute(
        "SELECT max(acknowledged_revision) FROM sessions JOIN messaging_groups ON messaging_groups.id ="
        " messaging_group_id WHERE room = ?",
        (VILLAIN,),
    ).get
    return highest


@pytest.mark.parametrize("mtime", [2**33, 2**40, -(2**40), 2**61])
def test_invariant_06_a_heartbeat_from_another_time_is_only_a_heartbeat(instance: Instance, mtime: int) -> None:
    async def crime(runner: FakeRunner) -> None:
        runner.files.heartbeat.touch()
        try:
            os.utime(runner.files.heartbeat, (0, mtime))
        except OverflowError:
            pytest.skip("not a time of this system")

    async def scenario() -> None:
        async with scene(instance, crime) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "echo: hi")
            await seen.running.host.components.sweeper.once()
            await seen.honest_answer("after")

    asyncio.run(scenario())


def test_invariant_07_an_action_that_says_who_asks_is_not_believed(instance: Instance) -> None:
    """The caller comes from the session; what the row says of it is only arguments."""
    told = {"caller": {"operator": True}, "session_id": "ses-other", "agent_group_id": "ag-other"}
    claim = {"action": "who", "request_id": "r", "arguments": told, **told}
    callers: list[Caller] = []

    async def who(_arguments: object, caller: Caller, _context: object) -> None:
        callers.append(caller)

    class Asked:
        @hookimpl
        def nanoclaw_actions(self) -> Iterable[Action]:
            yield Action(name="who", access=Access.ALLOWED, run=who)

    async def crime(runner: FakeRunner) -> None:
        runner.write(json.dumps(claim), kind=outbound.OutKind.ACTION)

    async def scenario() -> None:
        async with scene(instance, crime, asked=Asked()) as seen:
            await seen.running.channel.say("hi", room=VILLAIN)
            await seen.text_in(VILLAIN, "echo: hi")
            await until(lambda: callers)

    asyncio.run(scenario())
    (session,) = [one for one in instance.sessions() if one.agent_group_id == instance.group(VILLAIN).id]
    assert callers == [Caller(session_id=session.id, agent_group_id=session.agent_group_id)]
