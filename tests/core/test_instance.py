"""The instance directory: how `ncl init` makes it, and how agent groups are created in it."""

from pathlib import Path

import apsw
import pytest
from nanoclaw_cli.init import OPERATOR, create

from nanoclaw_core import InvalidArguments, NanoclawError, SettingsError, is_instance, load_settings
from nanoclaw_core.instance import InstancePaths, core_schema_damage, create_agent_group, open_database
from nanoclaw_core.store import agents, messaging
from nanoclaw_core.store.messaging import EngageMode, MessagingGroup
from nanoclaw_core.store.migrations import migrate_core
from nanoclaw_core.store.schema import core_migrations
from nanoclaw_core.testing.instance import Instance


def test_init_makes_an_agent_its_terminal_and_an_owner(tmp_path: Path) -> None:
    create(tmp_path / "home", {})
    paths = InstancePaths(home=tmp_path / "home")
    assert load_settings(paths.home, {}).core.owners == [OPERATOR]
    db = open_database(paths)
    group = agents.by_folder(db, "main")
    assert group is not None
    room = messaging.find(db, "terminal", "local")
    assert room is not None
    (wiring,) = messaging.wirings_of(db, room.id)
    assert (wiring.agent_group_id, wiring.engage_mode, wiring.engage_pattern) == (group.id, EngageMode.PATTERN, ".")
    assert agents.config_of(db, group.id).cli_scope == "global"
    db.close()


def test_init_again_changes_nothing(tmp_path: Path) -> None:
    assert len(create(tmp_path, {})) == 3
    (tmp_path / "groups" / "main" / "CLAUDE.md").write_text("mine")
    (tmp_path / "nanoclaw.toml").write_text("[core]\nprovider = 'mock'\n")
    assert create(tmp_path, {}) == []
    assert (tmp_path / "groups" / "main" / "CLAUDE.md").read_text() == "mine"
    assert load_settings(tmp_path, {}).core.provider == "mock"


def test_init_adds_only_missing_parts(tmp_path: Path) -> None:
    create(tmp_path, {})
    db = open_database(InstancePaths(home=tmp_path))
    db.execute("DELETE FROM messaging_groups")
    db.close()
    assert create(tmp_path, {}) == ["wiring of the terminal"]


def test_init_wires_a_room_that_existed_before(tmp_path: Path) -> None:
    (tmp_path / "nanoclaw.toml").touch()
    paths = InstancePaths(home=tmp_path)
    paths.make()
    db = open_database(paths)
    messaging.add(db, MessagingGroup(channel="terminal", room="local", name="terminal"))
    db.close()
    assert create(tmp_path, {}) == ["agent group main", "wiring of the terminal"]


def test_settings_alone_are_no_instance(tmp_path: Path) -> None:
    (tmp_path / "nanoclaw.toml").touch()
    assert not is_instance(tmp_path)
    create(tmp_path, {})
    assert is_instance(tmp_path)


def test_init_with_broken_settings_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "nanoclaw.toml").write_text("[core")
    with pytest.raises(SettingsError):
        create(tmp_path, {})
    assert (tmp_path / "nanoclaw.toml").read_text() == "[core"


def test_instance_files_are_private_to_their_owner(tmp_path: Path) -> None:
    create(tmp_path / "home", {})
    for name in ("", "data", "run", "logs", "groups", "nanoclaw.toml", "data/nanoclaw.db"):
        assert (tmp_path / "home" / name).stat().st_mode & 0o077 == 0, name


def test_init_impossible_directory_is_named_with_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NanoclawError, match=r"cannot be created: .* Choose another with --home"):
        create(tmp_path / "file" / "home", {})


@pytest.mark.parametrize("content", [b"garbage" * 200, b"SQLite format 3\0" + b"\xff" * 5000])
def test_damaged_central_database_is_refused_with_remedy(tmp_path: Path, content: bytes) -> None:
    paths = InstancePaths(home=tmp_path)
    paths.make()
    paths.database.write_bytes(content)
    with pytest.raises(NanoclawError, match=r"nanoclaw\.db cannot be opened: .*backup"):
        open_database(paths)


@pytest.mark.invariant(number=4)
@pytest.mark.parametrize(
    "change", [(b"last_error TEXT", b"last_eXror TEXT"), (b"'sending', 'sent'", b"'senXing', 'sent'")]
)
def test_central_database_with_damaged_schema_is_refused(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    """A table definition lost a letter: the host would start and fail at each message."""
    path = make_database(tmp_path)
    content = path.read_bytes()
    assert change[0] in content
    path.write_bytes(content.replace(*change))
    with pytest.raises(NanoclawError, match=r"nanoclaw\.db is damaged: the definition of .*backup"):
        open_database(InstancePaths(home=tmp_path))


@pytest.mark.invariant(number=4)
def test_central_database_with_a_damaged_index_is_refused(tmp_path: Path) -> None:
    """An index differs from its table: the room would seem unwired."""
    path = make_database(tmp_path)
    content = path.read_bytes()
    assert content.count(b"recorder-room") == 2
    first = content.index(b"recorder-room")
    path.write_bytes(content[:first] + b"recorder-XXXX" + content[first + 13 :])
    with pytest.raises(NanoclawError, match=r"nanoclaw\.db is damaged: .*backup"):
        open_database(InstancePaths(home=tmp_path))


def test_central_database_with_extra_tables_is_intact(tmp_path: Path) -> None:
    """Plugins add tables, an operator may add an index.

    A later version records more migrations.
    """
    path = make_database(tmp_path)
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE acme_things (name TEXT); CREATE INDEX mine ON deliveries (created_at)")
    db.close()
    open_database(InstancePaths(home=tmp_path)).close()
    db = apsw.Connection(str(path))
    db.execute("INSERT INTO migrations VALUES ('core', '9999-later', ''); DROP INDEX wirings_agent_group")
    db.close()
    open_database(InstancePaths(home=tmp_path)).close()


def test_central_database_of_an_earlier_version_is_intact(tmp_path: Path) -> None:
    """Before the first start of a new version, the database lacks the latest migrations."""
    db = apsw.Connection(str(tmp_path / "old.db"))
    migrate_core(db, core_migrations()[:2])
    assert core_schema_damage(db) == ""
    db.close()


def make_database(home: Path) -> Path:
    """Make an instance with one room, and return its database without a write-ahead log."""
    paths = InstancePaths(home=home)
    paths.make()
    db = open_database(paths)
    messaging.add(db, MessagingGroup(channel="recorder", room="recorder-room", is_group=False))
    db.pragma("journal_mode", "delete")
    db.close()
    return paths.database


def test_instance_id_is_stable_and_unique(tmp_path: Path) -> None:
    first, second = InstancePaths(home=tmp_path / "one"), InstancePaths(home=tmp_path / "two")
    assert first.instance_id == InstancePaths(home=tmp_path / "two" / ".." / "one").instance_id
    assert first.instance_id != second.instance_id
    assert len(first.instance_id) == 12


@pytest.mark.defect(number=16)
def test_create_agent_group_makes_folder_and_config(bare_instance: Instance) -> None:
    group = create_agent_group(bare_instance.db, bare_instance.paths, name="Ada's helper", folder="ada")
    assert (bare_instance.paths.groups / "ada" / "CLAUDE.md").read_text().startswith("# Ada's helper\n")
    assert (
        bare_instance.db.execute("SELECT count(*) FROM container_configs WHERE agent_group_id = ?", (group.id,)).get
        == 1
    )


@pytest.mark.defect(number=16)
@pytest.mark.parametrize(
    "folder", ["", ".", "..", "../x", "a/b", "/etc", "global", "Global", "-x", "_x", "a b", "a\n", "ä", "x" * 65]
)
def test_create_agent_group_refuses_an_unsafe_folder(bare_instance: Instance, folder: str) -> None:
    with pytest.raises(InvalidArguments, match="folder"):
        create_agent_group(bare_instance.db, bare_instance.paths, name="X", folder=folder)
    assert list(bare_instance.paths.groups.iterdir()) == []
    assert bare_instance.groups() == []


def test_create_agent_group_refuses_a_used_folder(bare_instance: Instance) -> None:
    bare_instance.group("ada")
    with pytest.raises(InvalidArguments, match="belongs to another agent group"):
        create_agent_group(bare_instance.db, bare_instance.paths, name="Second", folder="ada")


def test_create_agent_group_keeps_existing_instructions(bare_instance: Instance) -> None:
    folder = bare_instance.paths.groups / "ada"
    folder.mkdir()
    (folder / "CLAUDE.md").write_text("mine")
    bare_instance.group("ada")
    assert (folder / "CLAUDE.md").read_text() == "mine"


@pytest.mark.defect(number=16)
@pytest.mark.parametrize("name", ["", "  "])
def test_create_agent_group_without_a_name_leaves_nothing(bare_instance: Instance, name: str) -> None:
    with pytest.raises(InvalidArguments, match="needs a name"):
        create_agent_group(bare_instance.db, bare_instance.paths, name=name, folder="ada")
    assert _rows(bare_instance) == (0, 0)
    assert list(bare_instance.paths.groups.iterdir()) == []


@pytest.mark.defect(number=16)
def test_create_agent_group_without_a_folder_leaves_nothing(bare_instance: Instance) -> None:
    (bare_instance.paths.groups / "ada").write_text("no folder")
    with pytest.raises(NanoclawError, match=r"groups/ada cannot be created: (File exists|Not a directory)"):
        create_agent_group(bare_instance.db, bare_instance.paths, name="Ada", folder="ada")
    assert _rows(bare_instance) == (0, 0)


def _rows(instance: Instance) -> tuple[int, int]:
    counts = instance.db.execute("SELECT (SELECT count(*) FROM agent_groups), (SELECT count(*) FROM container_configs)")
    return counts.fetchall()[0]
