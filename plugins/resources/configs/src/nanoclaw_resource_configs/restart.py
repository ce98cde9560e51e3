"""`ncl groups restart`: fresh sandboxes for what runs, and first the agent's own image where that is asked for."""

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
NOBODY_RAN = "no sandbox of it runs, so nobody was told anything; the next message starts one as the config is now"
PARAMETERS = (
    Parameter(name="id", is_positional=True, help="the agent group, ag-…; an agent restarts itself"),
    Parameter(name="rebuild", kind=bool, help="make the image with the agent's packages first"),
    Parameter(name="message", help="a note for the fresh agents, which then start at once"),
)


class Restarts:
    """The restarts of one host. One image is made at a time for each agent group."""

    def __init__(self) -> None:
        self._building: set[GroupId] = set()

    def verb(self) -> Verb:
        """Return `groups restart`."""
        return Verb(
            resource="groups",
            name="restart",
            access=Access.HOLD,
            run=self._run,
            check=self._check,
            parameters=PARAMETERS,
            help="end the sandboxes of an agent group, so that fresh ones start as its config says",
            scope_parameter="id",
        )

    def _check(self, arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        group_id = _group(arguments, caller)
        config = rows.read(context.database, group_id)
        if arguments.get("message") is not None:
            values.text("--message", arguments["message"])
        if arguments.get("rebuild"):
            self._refuse_rebuild(config, context)

    async def _run(self, arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        group_id, note = _group(arguments, caller), arguments.get("message")
        rebuilt = await self._rebuild(group_id, caller, context) if arguments.get("rebuild") else None
        asked = _sessions(group_id, caller, context, has_note=note is not None)
        failed = await _restart(asked, note, context)
        restarted = [session_id for session_id in asked if session_id not in failed]
        told = {"failed": failed} if failed else {}
        return {"restarted": restarted, "rebuilt": rebuilt} | told | ({} if asked else {"note": NOBODY_RAN})

    def _refuse_rebuild(self, config: ContainerConfig, context: PluginContext) -> None:
        if packages_of(config) and context.operations.image_builder() is None:
            remedy = "install nanoclaw-runtime-docker, and restart the host"
            raise InvalidArguments(f"no runtime here makes images for packages; {remedy}, or remove the packages")
        if config.agent_group_id in self._building:
            raise InvalidArguments(f"the image of {config.agent_group_id} is being made already; ask again after that")

    async def _rebuild(self, group_id: GroupId, caller: Caller, context: PluginContext) -> str | None:
        """Make the image of an agent group and have its sandboxes use it; return its name.

        None where there are no packages: then its sandboxes use the image that all have (⚠43).

        Raises:
            InvalidArguments: No runtime makes images, or one is being made for the group.
            SandboxRefused, SandboxFailed: As the runtime says. The old image stays in use.
        """
        config = rows.read(context.database, group_id)
        self._refuse_rebuild(config, context)
        builder, packages = context.operations.image_builder(), packages_of(config)
        if not packages or builder is None:
            rows.change(context.database, group_id, lambda found: evolve(found, image_tag=None))
            return None
        self._building.add(group_id)
        try:
            image = await builder.build_for(group_id, packages, caller.tell)
        finally:
            self._building.discard(group_id)
        _, after = rows.change(context.database, group_id, lambda found: _with_image(found, image))
        if packages_of(after) != packages:
            caller.tell("The packages were changed meanwhile; rebuild again for those.")
        return after.image_tag


def _with_image(config: ContainerConfig, image: str) -> ContainerConfig:
    """Return a config with a new image, unless its last package was removed while the image was made (⚠43)."""
    return evolve(config, image_tag=image if packages_of(config) else None)


def _group(arguments: Mapping[str, Any], caller: Caller) -> GroupId:
    """Return the group that is meant; an agent, whatever its scope, restarts itself alone (⚠14).

    Raises:
        InvalidArguments: The operator names none.
        Forbidden: An agent names another's.
    """
    given = arguments.get("id") or caller.agent_group_id
    if given is None:
        raise InvalidArguments("groups restart needs --id: the agent group, ag-…")
    if not caller.operator and given != caller.agent_group_id:
        raise Forbidden(f"an agent restarts itself, and not {given!r}; the operator can restart others")
    return GroupId(given)


def _sessions(group_id: GroupId, caller: Caller, context: PluginContext, *, has_note: bool) -> Sequence[SessionId]:
    """Return whom to restart: of the operator all that run, of an agent its own session.

    An agent whose sandbox has ended since it asked still gets its note, in a fresh one.
    """
    running = context.operations.running(group_id)
    if caller.session_id is None:
        return running
    goes_on = caller.session_id in running or (has_note and rows.is_active(context.database, caller.session_id))
    return [caller.session_id] if goes_on else []


async def _restart(asked: Sequence[SessionId], note: str | None, context: PluginContext) -> dict[SessionId, str]:
    """Restart sessions side by side; return why those failed that did."""
    work = [context.operations.restart(session_id, note) for session_id in asked]
    results = await asyncio.gather(*work, return_exceptions=True)  # one session's trouble is its own
    failed = {one: str(result) for one, result in zip(asked, results, strict=True) if isinstance(result, BaseException)}
    for session_id, reason in failed.items():
        log.warning("session could not be restarted", extra={"session": session_id, "reason": reason})
    return failed
