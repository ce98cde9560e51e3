"""The instance directory: paths, database, creation of instances and agent groups."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
from attrs import Factory, evolve, field, frozen
from nanoclaw_untrusted.database_checks import page_damage_within, schema_damage
from nanoclaw_untrusted.migrations import LEDGER, applied_steps
from nanoclaw_wire.names import CENTRAL_DATABASE, CONTROL_SOCKET, SESSIONS, SETTINGS_FILE

from nanoclaw_core.descriptors.names import CORE
from nanoclaw_core.errors import InvalidArguments, MigrationError, NanoclawError
from nanoclaw_core.settings import load_settings, require_private
from nanoclaw_core.store import agents, messaging
from nanoclaw_core.store.agents import AgentGroup, ContainerConfig
from nanoclaw_core.store.connection import open_central
from nanoclaw_core.store.messaging import EngageMode, MessagingGroup, Wiring
from nanoclaw_core.store.migrations import migrate_core
from nanoclaw_core.store.schema import STEPS, core_migrations, core_scripts

RESTORE = (
    "Restore the instance from a backup. Without one, `sqlite3 nanoclaw.db .recover` in its directory `data` "
    "writes SQL that recreates the readable rows in a new file."
)
CHECK_CPU_S = 2.0  # enough for some hundred MB; the check of a larger database ends there without damage
FIRST_GROUP = "main"
_SETTINGS = """\
# Settings of this nanoclaw instance. `ncl doctor` checks them. docs/settings.md lists all settings.

[core]
owners = ["{owner}"]    # users with all rights, <channel>:<the platform's user id>
"""
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def _path(*names: str) -> Any:
    return field(init=False, default=Factory(lambda paths: paths.home.joinpath(*names), takes_self=True))


@frozen(kw_only=True)
class InstancePaths:
    """Paths in an instance directory."""

    home: Path
    settings: Path = _path(SETTINGS_FILE)
    database: Path = _path("data", CENTRAL_DATABASE)
    data: Path = _path("data")
    run: Path = _path("run")
    logs: Path = _path("logs")
    groups: Path = _path("groups")
    sessions: Path = _path(SESSIONS)
    control_socket: Path = _path("run", CONTROL_SOCKET)

    @property
    def instance_id(self) -> str:
        """The id of the directory on this machine, 12 hex digits."""
        return hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:12]

    def make(self) -> None:
        """Create the directories, and close them to other users of the machine, whatever the umask is.

        Raises:
            SettingsError: Another user owns or may write a directory, the settings or the database.
            NanoclawError: A directory cannot be created; the error has the path and the reason.
        """
        directories = (self.home, self.data, self.run, self.logs, self.groups, self.sessions)
        try:
            require_private(self.home)  # create nothing in a directory of another user
            for directory in (*reversed(self.home.parents), *directories):
                directory.mkdir(mode=0o700, exist_ok=True)  # `parents` would create them with the umask's mode
            require_private(*directories, self.settings, self.database)
            for directory in directories:
                with contextlib.suppress(PermissionError):  # it belongs to root, who decides who reads it
                    directory.chmod(directory.stat().st_mode & 0o700)
        except OSError as error:
            raise NanoclawError(
                f"the instance directory {self.home} cannot be created: {error.strerror}: {error.filename}. "
                "Choose another with --home or NANOCLAW_HOME, or fix the existing files and permissions."
            ) from error


def open_database(paths: InstancePaths) -> apsw.Connection:
    """Open the central database with the core's tables up to date.

    Raises:
        NanoclawError: It cannot be opened or migrated; the error has the reason and the remedy.
    """
    try:
        db = open_central(paths.database)
        damage = page_damage_within(db, CHECK_CPU_S)
        if not damage:
            migrate_core(db, core_migrations())
            damage = core_schema_damage(db)
    except (apsw.Error, OSError, MigrationError, UnicodeDecodeError) as error:
        raise NanoclawError(
            f"the central database {paths.database} cannot be opened: {error}. "
            "Check whether the disk is full or the file is damaged. You can replace the file from a backup."
        ) from error
    if damage:
        db.close()
        raise NanoclawError(f"the central database {paths.database} is damaged: {damage}. {RESTORE}")
    return db


def core_schema_damage(db: apsw.Connection) -> str:
    """Return the missing and changed core tables and indexes; empty if there are none.

    The database is compared with its applied steps. Plugins and operators may add objects. A database of a later
    version is not compared, because its steps are unknown.
    """
    applied = set(applied_steps(db, CORE))
    if not applied <= set(STEPS):
        return ""
    return schema_damage(db, [LEDGER, *core_scripts(applied)], may_have_more=True)


def create_agent_group(
    db: apsw.Connection, paths: InstancePaths, *, name: str, folder: str, config: ContainerConfig | None = None
) -> AgentGroup:
    """Create an agent group with its folder, instructions file and config row.

    An error leaves none of them (⚠16).

    Raises:
        InvalidArguments: The name is empty, or the folder name is unsafe or belongs to another group.
        NanoclawError: The folder cannot be created.
    """
    if not name.strip() or not _FOLDER.fullmatch(folder) or folder.lower() == "global":
        rule = "a name, and a folder of 1 to 64 letters, digits, `-` or `_`, except `global`"
        raise InvalidArguments(f"an agent group needs {rule}; got the name {name!r} and the folder {folder!r}")
    if agents.by_folder(db, folder) is not None:
        raise InvalidArguments(f"the folder {folder!r} belongs to another agent group")
    instructions = paths.groups / folder / "CLAUDE.md"
    try:
        with db:  # rows first: invalid rows must fail before the folder exists
            group = agents.create(db, name=name, folder=folder, config=config)
            instructions.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), instructions.open("x", encoding="utf-8") as file:  # no link
                file.write(f"# {name}\n\nWrite here the instructions that this agent must always know.\n")
    except OSError as error:
        raise NanoclawError(
            f"the folder {instructions.parent} cannot be created: {error.strerror}. Check its permissions."
        ) from error
    return group


def is_instance(home: Path) -> bool:
    """Return True if a directory holds settings and a database."""
    paths = InstancePaths(home=home)
    return paths.settings.exists() and paths.database.exists()


def initialise(home: Path, *, environment: Mapping[str, str], room: tuple[str, str], owner: str) -> list[str]:
    """Create an instance with an agent in one room.

    Complete an existing instance without other changes.

    Args:
        home: The instance directory.
        environment: Environment for the `env:` references in the settings.
        room: Channel name and the platform's room id.
        owner: The user with all rights, as `<channel>:<the platform's user id>`. An existing settings file keeps its
            owners.

    Returns:
        Names of the created things; empty if the instance was complete.

    Raises:
        NanoclawError: A directory cannot be created, or an existing settings file is invalid.
    """
    paths = InstancePaths(home=home)
    paths.make()
    created = []
    if not paths.settings.exists():
        paths.settings.write_text(_SETTINGS.format(owner=owner), encoding="utf-8")
        paths.settings.chmod(0o600)
        created.append(f"settings {paths.settings}")
    load_settings(home, environment)
    with contextlib.closing(open_database(paths)) as db:
        return created + _create_first_agent(db, paths, room)


def _create_first_agent(db: apsw.Connection, paths: InstancePaths, room: tuple[str, str]) -> list[str]:
    created = []
    with db:
        group = agents.by_folder(db, FIRST_GROUP)
        if group is None:
            group = create_agent_group(db, paths, name="Nano", folder=FIRST_GROUP)
            agents.save_config(db, evolve(agents.config_of(db, group.id), cli_scope="global"))
            created.append(f"agent group {FIRST_GROUP}")
        channel, name = room
        chat = messaging.find(db, *room)
        chat = chat or messaging.add(db, MessagingGroup(channel=channel, room=name, name=channel))
        if not messaging.wirings_of(db, chat.id):
            wiring = Wiring(
                messaging_group_id=chat.id, agent_group_id=group.id, engage_mode=EngageMode.PATTERN, engage_pattern="."
            )
            messaging.wire(db, wiring)
            created.append(f"wiring of the {channel}")
    return created
