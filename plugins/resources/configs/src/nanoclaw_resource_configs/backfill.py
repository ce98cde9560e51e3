"""Gives a config to agent groups that have none, when the host starts: from their `container.json` where there is one.

A sandbox can write into its agent's folder. So what a file says counts once, before any sandbox runs, and a group
without a file gets a row of defaults, so that a file that comes later says nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from pathlib import Path
from typing import Any

from attrs import frozen

from nanoclaw_core import ContainerConfig, GroupId, PluginContext
from nanoclaw_resource_configs import rows
from nanoclaw_resource_configs.container_json import config_from

log = logging.getLogger(__name__)
FILE_NAME = "container.json"
FILE_BYTES = 1_000_000


@frozen
class Backfill:
    """A service that has its work done before it first waits."""

    context: PluginContext

    async def run(self) -> None:
        """Give configs to those who have none, and rest."""
        for group_id, folder in rows.without_row(self.context.database):
            self._fill(group_id, self.context.home / "groups" / folder / FILE_NAME)
        await asyncio.Event().wait()

    def _fill(self, group_id: GroupId, path: Path) -> None:
        raw, problems = _read(path)
        check_mount = self.context.operations.check_mount
        config, refused = config_from(ContainerConfig(agent_group_id=group_id), raw, check_mount)
        rows.save(self.context.database, config)
        for problem in [*problems, *refused]:
            log.warning("part of container.json left out", extra={"group": group_id, "problem": problem})
        log.info("config made", extra={"group": group_id, "source": str(path) if raw else "defaults"})


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what a file holds, and what is wrong with it; no file is nothing, and nothing is wrong with that."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES:
            return {}, [f"{path} is no file of at most {FILE_BYTES} bytes"]
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError, RecursionError) as error:
        return {}, [f"{path} cannot be read: {error}"]
    return (raw, []) if isinstance(raw, dict) else ({}, [f"{path} holds no object"])
