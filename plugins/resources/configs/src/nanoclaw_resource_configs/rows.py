"""Reading and changing config rows in the central database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import apsw
from attrs import asdict

from nanoclaw_core import ContainerConfig, GroupId, NotFound, SessionId, config_of, save_config


def read(db: apsw.Connection, group_id: str) -> ContainerConfig:
    """Return an agent group's config; all defaults where it has no row.

    Raises:
        NotFound: There is no such agent group.
    """
    known = "SELECT 1 FROM agent_groups WHERE id = ?"
    if not group_id.isprintable() or db.execute(known, (group_id,)).get is None:
        raise NotFound(f"groups: there is none with id {group_id!r}")
    return config_of(db, GroupId(group_id))


def change(
    db: apsw.Connection, group_id: str, changed: Callable[[ContainerConfig], ContainerConfig]
) -> tuple[ContainerConfig, ContainerConfig]:
    """Change a config in one transaction; return it as it was and as it is.

    Raises:
        NotFound: There is no such agent group.
        Whatever `changed` raises; nothing was changed then.
    """
    with db:
        before = read(db, group_id)
        after = changed(before)
        if after != before:
            save_config(db, after)
    return before, read(db, group_id)


def without_row(db: apsw.Connection) -> list[tuple[GroupId, str]]:
    """Return the agent groups that have no config row, with their folders, oldest first."""
    lacking = "id NOT IN (SELECT agent_group_id FROM container_configs)"
    found = db.execute(f"SELECT id, folder FROM agent_groups WHERE {lacking} ORDER BY created_at, id")
    return [(GroupId(group_id), folder) for group_id, folder in found]


def save(db: apsw.Connection, config: ContainerConfig) -> None:
    """Write a whole config row."""
    with db:
        save_config(db, config)


def is_active(db: apsw.Connection, session_id: SessionId) -> bool:
    """Say whether a session goes on."""
    return db.execute("SELECT 1 FROM sessions WHERE id = ? AND status = 'active'", (session_id,)).get is not None


def shown(config: ContainerConfig) -> dict[str, Any]:
    """Return a config as people and machines see it."""
    values: Mapping[str, Any] = asdict(config, recurse=False)
    return dict(values)
