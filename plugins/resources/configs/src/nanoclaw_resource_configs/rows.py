"""Reads and changes config rows in the central database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import apsw
from attrs import asdict

from nanoclaw_core import ContainerConfig, GroupId, NotFound, SessionId, config_of, save_config
from nanoclaw_resource_configs.masks import masked_servers


def read(db: apsw.Connection, group_id: str) -> ContainerConfig:
    """Return the config of an agent group, or a config of defaults if it has no row.

    Raises:
        NotFound: No agent group has this id.
    """
    known = "SELECT 1 FROM agent_groups WHERE id = ?"
    if not group_id.isprintable() or db.execute(known, (group_id,)).get is None:
        raise NotFound(f"groups: no agent group has the id {group_id!r}. `ncl groups list` shows them")
    return config_of(db, GroupId(group_id))


def change(
    db: apsw.Connection, group_id: str, update: Callable[[ContainerConfig], ContainerConfig]
) -> tuple[ContainerConfig, ContainerConfig]:
    """Change a config in one transaction, and return it before and after the change.

    Raises:
        NotFound: No agent group has this id.
        Exception: Any that `update` raises. The stored config stays unchanged.
    """
    with db:
        before = read(db, group_id)
        after = update(before)
        if after != before:
            save_config(db, after)
    return before, read(db, group_id)


def without_row(db: apsw.Connection) -> list[tuple[GroupId, str]]:
    """Return the id and folder of each agent group without a config row, oldest first."""
    no_row = "id NOT IN (SELECT agent_group_id FROM container_configs)"
    groups = db.execute(f"SELECT id, folder FROM agent_groups WHERE {no_row} ORDER BY created_at, id")
    return [(GroupId(group_id), folder) for group_id, folder in groups]


def save(db: apsw.Connection, config: ContainerConfig) -> None:
    """Write a complete config row."""
    with db:
        save_config(db, config)


def is_active(db: apsw.Connection, session_id: SessionId) -> bool:
    """Return whether a session exists and is active."""
    return db.execute("SELECT 1 FROM sessions WHERE id = ? AND status = 'active'", (session_id,)).get is not None


def shown(config: ContainerConfig) -> dict[str, Any]:
    """Return a config as a dict for answers of verbs, without secrets."""
    values: Mapping[str, Any] = asdict(config, recurse=False)
    return {**values, "mcp_servers": masked_servers(config.mcp_servers)}
