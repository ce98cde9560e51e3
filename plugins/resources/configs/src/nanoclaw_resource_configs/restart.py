"""`ncl groups restart`: restarts the sandboxes of an agent group.

It rebuilds the group's image first if requested.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from nanoclaw_core import (
    Access,
    Caller,
    ContainerConfig,
    Forbidden,
    GroupId,
    InvalidArguments,
    Parameter,
    PluginContext,
    SessionId,
    Verb,
)
from nanoclaw_resource_configs import rows, values
from nanoclaw_resource_configs.changes import packages_of

log = logging.getLogger(__name__)
NONE_RUNNING = (
    "no sandbox of this agent group is running, so nothing was restarted or delivered;"
    " the next message starts a sandbox with the current config"
)
PARAMETERS = (
    Parameter(name="id", is_positional=True, help="the agent group, ag-…; an agent can restart only itself"),
    Parameter(name="rebuild", kind=bool, help="build the image with the agent's packages first"),
    Parameter(name="message", help="a note for the restarted agents; they start at once to read it"),
)


class Restarts:
    """The restarts of one host. Each agent group builds one image at a time."""

    def __init__(self) -> None:
        self._building: set[GroupId] = set()

    def verb(self) -> Verb:
        """Return `groups restart`."""
        return Verb(
            resource="groups",
            name="restart",
            access=Access.NEEDS_APPROVAL,
            run=self._run,
            check=self._check,
            preview=self._preview,
            parameters=PARAMETERS,
            help="restart the sandboxes of an agent group with its current config",
            scope_parameter="id",
        )

    def _check(self, arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        group_id = _group(arguments, caller)
        config = rows.read(context.database, group_id)
        if arguments.get("message") is not None:
            values.text("--message", arguments["message"])
        if arguments.get("rebuild"):
            self._require_rebuildable(config, context)

    def _preview(self, arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        has_note = arguments.get("message") is not None
        sessions = _sessions(_group(arguments, caller), caller, context, has_note=has_note)
        return {"restarts": list(sessions), "rebuilds the image": bool(arguments.get("rebuild"))}

    async def _run(self, arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        group_id, note = _group(arguments, caller), arguments.get("message")
        if note is not None and caller.session_id is not None:  # the agent must not read its own words as the host's
            note = f"You left this note for the time after your restart: {note}"
        rebuilt = await self._rebuild(group_id, caller, context) if arguments.get("rebuild") else None
        sessions = _sessions(group_id, caller, context, has_note=note is not None)
        failed = await _restart(sessions, note, context)
        restarted = [session_id for session_id in sessions if session_id not in failed]
        failures = {"failed": failed} if failed else {}
        return {"restarted": restarted, "rebuilt": rebuilt} | failures | ({} if sessions else {"note": NONE_RUNNING})

    def _require_rebuildable(self, config: ContainerConfig, context: PluginContext) -> None:
        if packages_of(config) and context.operations.image_builder() is None:
            remedy = "Install nanoclaw-runtime-docker and restart the host, or remove the packages"
            raise InvalidArguments(f"--rebuild: no installed runtime builds images with packages. {remedy}")
        if config.agent_group_id in self._building:
            problem = f"--rebuild: the image of {config.agent_group_id} is already being built"
            raise InvalidArguments(f"{problem}. Try again after the build")

    async def _rebuild(self, group_id: GroupId, caller: Caller, context: PluginContext) -> str | None:
        """Build the image of an agent group, store it in the config, and return its name.

        Returns:
            None if the config has no packages. Its sandboxes then use the image that all agents share (⚠43).

        Raises:
            InvalidArguments: No runtime builds images, or the group's image is already being built.
            SandboxRefused: The runtime refused the build. The old image stays in use.
            SandboxFailed: The build failed. The old image stays in use.
        """
        config = rows.read(context.database, group_id)
        self._require_rebuildable(config, context)
        builder, packages = context.operations.image_builder(), packages_of(config)
        if not packages or builder is None:
            rows.change(context.database, group_id, lambda config: evolve(config, image_tag=None))
            return None
        self._building.add(group_id)
        try:
            image = await builder.build_for(group_id, packages, caller.progress)
        finally:
            self._building.discard(group_id)
        _, after = rows.change(context.database, group_id, lambda config: _with_image(config, image))
        if packages_of(after) != packages:
            caller.progress("The packages changed during the build. Rebuild again to install them.")
        return after.image_tag


def _with_image(config: ContainerConfig, image: str) -> ContainerConfig:
    """Return a config with a new image.

    It has none if its last package was removed during the build (⚠43).
    """
    return evolve(config, image_tag=image if packages_of(config) else None)


def _group(arguments: Mapping[str, Any], caller: Caller) -> GroupId:
    """Return the requested agent group.

    An agent of any scope can restart only its own group (⚠14).

    Raises:
        InvalidArguments: The operator names no group.
        Forbidden: An agent names another group.
    """
    group_id = arguments.get("id") or caller.agent_group_id
    if group_id is None:
        raise InvalidArguments("groups restart needs --id: the agent group, ag-…")
    if not caller.operator and group_id != caller.agent_group_id:
        raise Forbidden(f"--id: an agent can restart only itself, got {group_id!r}. Ask the operator to restart others")
    return GroupId(group_id)


def _sessions(group_id: GroupId, caller: Caller, context: PluginContext, *, has_note: bool) -> Sequence[SessionId]:
    """Return the sessions to restart.

    These are all running ones for the operator, and its own session for an agent.

    An agent gets its note in a new sandbox if its sandbox ended after the request.
    """
    running = context.operations.running(group_id)
    if caller.session_id is None:
        return running
    is_restartable = caller.session_id in running or (has_note and rows.is_active(context.database, caller.session_id))
    return [caller.session_id] if is_restartable else []


async def _restart(sessions: Sequence[SessionId], note: str | None, context: PluginContext) -> dict[SessionId, str]:
    """Restart sessions concurrently, and return the reason of each failure by session."""
    work = [context.operations.restart(session_id, note) for session_id in sessions]
    results = await asyncio.gather(*work, return_exceptions=True)  # one failure must not stop the others
    failed = {
        session_id: str(result)
        for session_id, result in zip(sessions, results, strict=True)
        if isinstance(result, BaseException)
    }
    for session_id, reason in failed.items():
        log.warning("session not restarted", extra={"session": session_id, "reason": reason})
    return failed
