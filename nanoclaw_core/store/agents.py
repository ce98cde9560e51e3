"""Agent groups and their container configs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import apsw
from attrs import asdict, evolve, field, frozen
from nanoclaw_wire import clock

from nanoclaw_core.ids import GroupId, new_id
from nanoclaw_core.store.connection import insert, row, write


@frozen(kw_only=True)
class AgentGroup:
    """An agent's identity. `folder` is one safe path component below `groups/`."""

    id: GroupId
    name: str
    folder: str
    created_at: str


_AS_JSON = ("skills", "mcp_servers", "packages_apt", "packages_npm", "packages_pip", "additional_mounts", "limits")


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _skills(value: Any) -> Any:
    return value if value == "all" else _json(value)


@frozen(kw_only=True)
class ContainerConfig:
    """The configuration of an agent group's sandboxes.

    None leaves a choice to the settings.

    Args:
        skills: `"all"` or a list of names.
        mcp_servers: `{command, args, env, instructions}` by name.
        additional_mounts: `[{path, name, writable, identity}]`; each is checked at every start of a sandbox. `identity`
            is the approved directory as `device:inode:boot`.
        limits: `{memory_mb, cpus, pids}`; only the values that differ from the settings.
    """

    agent_group_id: GroupId
    provider: str | None = None
    model: str | None = None
    effort: str | None = None
    image_tag: str | None = None
    assistant_name: str | None = None
    max_messages_per_prompt: int | None = None
    network: str | None = None
    runtime: str | None = None
    skills: str | Sequence[str] = field(default="all", converter=_skills)
    mcp_servers: Mapping[str, Any] = field(factory=dict, converter=_json)
    packages_apt: Sequence[str] = field(factory=list, converter=_json)
    packages_npm: Sequence[str] = field(factory=list, converter=_json)
    packages_pip: Sequence[str] = field(factory=list, converter=_json)
    additional_mounts: Sequence[Mapping[str, Any]] = field(factory=list, converter=_json)
    cli_scope: str = "group"
    limits: Mapping[str, Any] = field(factory=dict, converter=_json)
    updated_at: str = ""


def create(db: apsw.Connection, *, name: str, folder: str, config: ContainerConfig | None = None) -> AgentGroup:
    """Create an agent group with its config row, in the caller's transaction.

    Raises:
        apsw.ConstraintError: Another agent group has the folder.
    """
    group = AgentGroup(id=GroupId(new_id("ag")), name=name, folder=folder, created_at=clock.now_text())
    insert(db, "agent_groups", group)
    save_config(db, evolve(config or ContainerConfig(agent_group_id=group.id), agent_group_id=group.id))
    return group


def get(db: apsw.Connection, group_id: GroupId) -> AgentGroup | None:
    """Return an agent group, or None."""
    return row(db, AgentGroup, "agent_groups WHERE id = ?", (group_id,))


def by_folder(db: apsw.Connection, folder: str) -> AgentGroup | None:
    """Return the agent group with a folder, or None.

    The search ignores case, as some file systems do.
    """
    return row(db, AgentGroup, "agent_groups WHERE folder = ? COLLATE NOCASE", (folder,))


def config_of(db: apsw.Connection, group_id: GroupId) -> ContainerConfig:
    """Return a group's config, or the defaults if it has no row."""
    config = row(db, ContainerConfig, "container_configs WHERE agent_group_id = ?", (group_id,))
    return config or ContainerConfig(agent_group_id=group_id)


def all_mounts(db: apsw.Connection) -> list[tuple[GroupId, Mapping[str, Any]]]:
    """Return the `additional_mounts` entries of all agent groups, each with its group."""
    query = "SELECT agent_group_id, additional_mounts FROM container_configs WHERE additional_mounts <> '[]'"
    lists = db.execute(f"{query} ORDER BY agent_group_id")
    return [(group_id, entry) for group_id, text in lists for entry in json.loads(text) if isinstance(entry, dict)]


def save_config(db: apsw.Connection, config: ContainerConfig) -> None:
    """Write a group's complete config row; restart no sandbox."""
    written = {name: json.dumps(getattr(config, name), ensure_ascii=False) for name in _AS_JSON}
    values = asdict(config, recurse=False) | written | {"updated_at": clock.now_text()}
    write(db, "INSERT OR REPLACE", "container_configs", values)
