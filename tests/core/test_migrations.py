"""Migrations: their ledger, the limits of each plugin, and the constraints of the core tables."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from nanoclaw_untrusted.migrations import require_separate_prefixes, table_prefix

from nanoclaw_core import Budgets, InvalidArguments, Migration, MigrationError
from nanoclaw_core.ids import GroupId, SessionId
from nanoclaw_core.store import agents, messaging, sessions
from nanoclaw_core.store.connection import open_central
from nanoclaw_core.store.dropped import DroppedMessage, DroppedMessages
from nanoclaw_core.store.messaging import EngageMode, MessagingGroup, Wiring
from nanoclaw_core.store.migrations import migrate_core, migrate_plugin
from nanoclaw_core.store.schema import core_migrations
from nanoclaw_core.store.sessions import Session
from nanoclaw_core.store.usage import Usage
from nanoclaw_core.testing.instance import Instance

AT = "2026-01-05T15:04:00.000Z"


@pytest.fixture
def central(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Return a central database with the core tables and a table of the plugin `chat`."""
    db = open_central(tmp_path / "nanoclaw.db")
    migrate_core(db, core_migrations())
    migrate_plugin(
        db, "chat", [sql("first", "CREATE TABLE chat_rooms (name TEXT); CREATE INDEX chat_x ON chat_rooms (name)")]
    )
    db.execute("INSERT INTO chat_rooms VALUES ('lobby')")
    yield db
    db.close()


def sql(name: str, statements: str) -> Migration:
    return Migration(name=name, apply=lambda db: db.execute(statements) and None)


def schema(db: apsw.Connection) -> list[tuple[str, ...]]:
    return sorted(db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_schema"))


def ledger(db: apsw.Connection, plugin: str) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM migrations WHERE plugin = ? ORDER BY rowid", (plugin,))]


def raising(_db: apsw.Connection) -> None:
    raise ZeroDivisionError("half-way")


# The ledger


def test_migrations_are_applied_in_order_and_recorded(central: apsw.Connection) -> None:
    steps = [sql("one", "CREATE TABLE tasks_a (x)"), sql("two", "ALTER TABLE tasks_a ADD COLUMN y")]
    assert migrate_plugin(central, "tasks", steps) == ["one", "two"]
    assert ledger(central, "tasks") == ["one", "two"]


def test_applied_migration_is_not_repeated(central: apsw.Connection) -> None:
    steps = [sql("one", "CREATE TABLE tasks_a (x)")]
    migrate_plugin(central, "tasks", steps)
    assert migrate_plugin(central, "tasks", steps) == []
    assert migrate_plugin(central, "tasks", [*steps, sql("two", "CREATE TABLE tasks_b (x)")]) == ["two"]


def test_core_migrations_run_once(central: apsw.Connection) -> None:
    before = schema(central)
    assert migrate_core(central, core_migrations()) == []
    assert schema(central) == before


def test_two_plugins_may_share_a_migration_name(central: apsw.Connection) -> None:
    assert migrate_plugin(central, "tasks", [sql("first", "CREATE TABLE tasks_a (x)")]) == ["first"]


def test_failing_migration_keeps_only_earlier_ones(central: apsw.Connection) -> None:
    def half_way(db: apsw.Connection) -> None:
        db.execute("CREATE TABLE tasks_b (x); INSERT INTO tasks_a VALUES (1)")
        raise ZeroDivisionError("half-way")

    steps = [sql("one", "CREATE TABLE tasks_a (x)"), Migration(name="two", apply=half_way)]
    with pytest.raises(MigrationError, match="'two' of 'tasks' failed: half-way"):
        migrate_plugin(central, "tasks", steps)
    assert ledger(central, "tasks") == ["one"]
    assert central.execute("SELECT count(*) FROM tasks_a").get == 0
    assert not central.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tasks_b'").get


def test_database_works_after_a_failed_migration(central: apsw.Connection) -> None:
    with pytest.raises(MigrationError):
        migrate_plugin(central, "tasks", [Migration(name="one", apply=raising)])
    assert migrate_plugin(central, "tasks", [sql("one", "CREATE TABLE tasks_a (x)")]) == ["one"]
    central.execute("INSERT INTO chat_rooms VALUES ('hall')")
    assert central.authorizer is None


def test_open_central_waits_for_another_process(tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "nanoclaw.db"))
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ["ROLLBACK"])
    release.start()
    db = open_central(tmp_path / "nanoclaw.db")
    assert db.pragma("journal_mode") == "wal"
    db.close()
    release.join()
    other.close()


def test_two_hosts_migrate_a_database_once(tmp_path: Path) -> None:
    """Each step runs once. Each host may apply some of the steps."""
    start = threading.Barrier(2, timeout=30)
    applied: list[list[str]] = []

    def migrate() -> None:
        db = open_central(tmp_path / "nanoclaw.db")
        start.wait()
        applied.append(migrate_core(db, core_migrations()))
        db.close()

    threads = [threading.Thread(target=migrate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted([*applied[0], *applied[1]]) == [step.name for step in core_migrations()]


# The limits of a plugin


def test_migration_may_change_its_own_tables(central: apsw.Connection) -> None:
    statements = """
        CREATE TABLE tasks_a (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, run REFERENCES sessions (id));
        CREATE INDEX tasks_by_run ON tasks_a (run);
        CREATE TRIGGER tasks_guard AFTER INSERT ON tasks_a BEGIN UPDATE tasks_a SET name = 'x' WHERE id = new.id; END;
        INSERT INTO tasks_a (name) VALUES ('one');
        ALTER TABLE tasks_a RENAME TO tasks_b;
        ALTER TABLE tasks_b RENAME COLUMN run TO session;
        CREATE TABLE tasks_c AS SELECT * FROM tasks_b;
        DROP TABLE tasks_c;
    """
    assert migrate_plugin(central, "tasks", [sql("one", statements)]) == ["one"]


def test_migration_may_read_other_tables(central: apsw.Connection) -> None:
    statement = "CREATE TABLE tasks_a AS SELECT name FROM chat_rooms"
    assert migrate_plugin(central, "tasks", [sql("one", statement)]) == ["one"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO chat_rooms VALUES ('mine')",
        "UPDATE chat_rooms SET name = 'mine'",
        "DELETE FROM chat_rooms",
        "INSERT INTO agent_groups VALUES ('a', 'a', 'a', 'a')",
        "DELETE FROM migrations",
        "CREATE TABLE other (x)",
        "CREATE TABLE chat_more (x)",
        "CREATE TABLE tasksa (x)",
        "DROP TABLE chat_rooms",
        "DROP INDEX chat_x",
        "ALTER TABLE chat_rooms RENAME TO tasks_rooms",
        "ALTER TABLE chat_rooms ADD COLUMN mine",
        "CREATE TABLE tasks_a (x); ALTER TABLE tasks_a RENAME TO chat_more",
        "CREATE INDEX tasks_on_theirs ON chat_rooms (name)",
        "CREATE TRIGGER tasks_t AFTER INSERT ON chat_rooms BEGIN SELECT 1; END",
        "CREATE TABLE tasks_a (x); CREATE TRIGGER tasks_t AFTER INSERT ON tasks_a BEGIN DELETE FROM chat_rooms; END;"
        " INSERT INTO tasks_a VALUES (1)",
        "CREATE VIEW chat_view AS SELECT 1",
        "CREATE VIEW everything AS SELECT * FROM agent_groups",
        "ATTACH ':memory:' AS elsewhere",
        "PRAGMA user_version = 9",
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_schema SET name = 'x'",
        "COMMIT",
        "ROLLBACK",
        "COMMIT; BEGIN",
        "SELECT * FROM no_such_table",
    ],
)
def test_migration_that_changes_other_tables_leaves_nothing(central: apsw.Connection, statement: str) -> None:
    before = schema(central)
    rows = central.execute("SELECT * FROM chat_rooms").fetchall()
    with pytest.raises(MigrationError, match="'one' of 'tasks'"):
        migrate_plugin(central, "tasks", [sql("one", statement)])
    assert schema(central) == before
    assert central.execute("SELECT * FROM chat_rooms").fetchall() == rows
    assert ledger(central, "tasks") == []
    assert not central.in_transaction


@pytest.mark.parametrize(("first", "second"), [("task", "task-runs"), ("task-runs", "task")])
def test_prefix_that_covers_another_plugin_is_refused(first: str, second: str) -> None:
    with pytest.raises(MigrationError, match="'task' has the table prefix 'task_', which covers 'task-runs'"):
        require_separate_prefixes([first, second], [])


def test_prefix_that_covers_a_core_table_is_refused() -> None:
    with pytest.raises(MigrationError, match="agent_groups"):
        require_separate_prefixes(["agent"], ["agent_groups"])


def test_similar_plugin_names_do_not_clash() -> None:
    require_separate_prefixes(["task", "tasks"], ["agent_groups"])
    assert table_prefix("task-runs") == "task_runs_"


# Constraints of the core tables


@pytest.fixture
def wiring(bare_instance: Instance) -> Wiring:
    return bare_instance.wire()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("engage_pattern", None),
        ("engage_mode", "mention"),
        ("engage_mode", "always"),
        ("session_mode", "own"),
        ("ignored_policy", ""),
        ("created_at", None),
    ],
)
def test_table_refuses_an_invalid_wiring(
    bare_instance: Instance, wiring: Wiring, column: str, value: str | None
) -> None:
    with pytest.raises(apsw.ConstraintError):
        bare_instance.db.execute(f"UPDATE wirings SET {column} = ? WHERE id = ?", (value, wiring.id))


@pytest.mark.defect(number=17)
@pytest.mark.parametrize(
    ("mode", "pattern"),
    [(EngageMode.PATTERN, None), (EngageMode.PATTERN, ""), (EngageMode.PATTERN, "("), (EngageMode.MENTION, ".")],
)
def test_wiring_with_an_unfit_pattern_is_refused(
    bare_instance: Instance, mode: EngageMode, pattern: str | None
) -> None:
    with pytest.raises(InvalidArguments):
        bare_instance.wire(engage_mode=mode, engage_pattern=pattern)
    assert bare_instance.db.execute("SELECT count(*) FROM wirings").get == 0


def test_room_is_wired_to_an_agent_once(bare_instance: Instance, wiring: Wiring) -> None:
    with pytest.raises(apsw.ConstraintError):
        bare_instance.wire()


def test_room_exists_once(bare_instance: Instance, wiring: Wiring) -> None:
    with pytest.raises(apsw.ConstraintError):
        messaging.add(bare_instance.db, MessagingGroup(channel="recorder", room="room"))


@pytest.mark.defect(number=18)
def test_drops_without_sender_or_agent_are_counted_in_one_row(bare_instance: Instance) -> None:
    drop = DroppedMessage(channel="c", room="r", sender="", sender_name=None, reason="stranger")

    async def scenario() -> None:
        dropped = DroppedMessages(db=bare_instance.db, usage=Usage(db=bare_instance.db, budgets=Budgets()))
        for _ in range(3):
            dropped.record(drop)

    asyncio.run(scenario())
    assert bare_instance.db.execute("SELECT count FROM dropped_messages").fetchall() == [(3,)]


@pytest.mark.defect(number=18)
def test_primary_key_columns_are_not_null(bare_instance: Instance) -> None:
    nullable = bare_instance.db.execute(
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c"
        " WHERE t.type = 'table' AND c.pk > 0 AND c.\"notnull\" = 0"
    ).fetchall()
    for table, column in nullable:  # STRICT implies NOT NULL for a TEXT PRIMARY KEY
        names = [row[1] for row in bare_instance.db.execute(f"PRAGMA table_info({table})")]
        marks = ", ".join("NULL" if name == column else "1" for name in names)
        with pytest.raises(apsw.ConstraintError):
            bare_instance.db.execute(f"INSERT INTO {table} VALUES ({marks})")


def make_session(instance: Instance, group: GroupId, conversation: str) -> SessionId:
    session = Session(agent_group_id=group, conversation=conversation)
    sessions.add(instance.db, session)
    return session.id


def test_conversation_has_one_active_session(bare_instance: Instance) -> None:
    group = bare_instance.group().id
    first = make_session(bare_instance, group, "agent")
    with pytest.raises(apsw.ConstraintError):
        make_session(bare_instance, group, "agent")
    sessions.close(bare_instance.db, first)
    second = make_session(bare_instance, group, "agent")
    session = sessions.find(bare_instance.db, group, "agent")
    assert session is not None
    assert session.id == second


def test_each_agent_has_its_own_session_of_a_conversation(bare_instance: Instance) -> None:
    first = make_session(bare_instance, bare_instance.group("a").id, "room:1")
    second = make_session(bare_instance, bare_instance.group("b").id, "room:1")
    assert first != second


def test_session_needs_an_existing_agent_group(bare_instance: Instance) -> None:
    with pytest.raises(apsw.ConstraintError):
        make_session(bare_instance, GroupId("ag-nowhere"), "agent")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("network", "wifi"),
        ("cli_scope", "root"),
        ("mcp_servers", "[]"),
        ("packages_apt", "{}"),
        ("limits", "nothing"),
        ("provider", ""),
        ("max_messages_per_prompt", 0),
    ],
)
def test_table_refuses_an_invalid_config(bare_instance: Instance, column: str, value: object) -> None:
    group = bare_instance.group()
    with pytest.raises(apsw.Error):
        bare_instance.db.execute(
            f"UPDATE container_configs SET {column} = ? WHERE agent_group_id = ?", (value, group.id)
        )
    assert agents.config_of(bare_instance.db, group.id).cli_scope == "group"


def test_database_is_private_to_its_owner(bare_instance: Instance) -> None:
    assert bare_instance.paths.database.stat().st_mode & 0o077 == 0


def test_tables_are_strict(bare_instance: Instance) -> None:
    tables = bare_instance.db.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict"
        " AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    assert tables == []
