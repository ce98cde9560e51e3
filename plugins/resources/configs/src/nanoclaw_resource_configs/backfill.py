"""Creates missing configs of agent groups when the host starts.

It uses `container.json` if the file exists.

A sandbox can write into the folder of its agent. So the host reads the file once, before any sandbox runs. A group
without the file gets a row of defaults, so that a file that appears later has no effect.
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
MAX_FILE_BYTES = 1_000_000


@frozen
class Backfill:
    """A service that finishes its work before its first await."""

    context: PluginContext

    async def run(self) -> None:
        """Create the missing configs, then wait until cancelled."""
        for group_id, folder in rows.without_row(self.context.database):
            self._fill(group_id, self.context.home / "groups" / folder / FILE_NAME)
        await asyncio.Event().wait()

    def _fill(self, group_id: GroupId, path: Path) -> None:
        raw, problems = _read(path)
        check_mount = self.context.operations.check_mount
        config, refused = config_from(ContainerConfig(agent_group_id=group_id), raw, check_mount)
        rows.save(self.context.database, config)
        for problem in [*problems, *refused]:
            log.warning("ignored part of container.json", extra={"group": group_id, "problem": problem})
        log.info("config created", extra={"group": group_id, "source": str(path) if raw else "defaults"})


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the object in a file and the problems of the file.

    A missing file is empty and no problem.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            return {}, [f"{path} must be a regular file of at most {MAX_FILE_BYTES} bytes"]
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError, RecursionError) as error:
        return {}, [f"{path} cannot be read: {error}"]
    return (raw, []) if isinstance(raw, dict) else ({}, [f"{path} must hold a JSON object"])
