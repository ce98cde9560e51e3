"""The images of agent groups in the engine: made, found stale, taken away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nanoclaw_core import NanoclawError
from nanoclaw_runtime_docker.build import BuildStep, build_image, group_order
from nanoclaw_runtime_docker.engine import Engine
from nanoclaw_runtime_docker.group_recipe import (
    MADE_BY_LABEL,
    MADE_FOR_LABEL,
    MADE_ON_LABEL,
    BaseImage,
    GroupRecipe,
    group_of,
)
from nanoclaw_runtime_docker.settings import Settings
from nanoclaw_runtime_docker.threads import DaemonThreads

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

BUILDS_AT_ONCE = 2  # a build takes a processor and the disk, and agents are working beside it
KEPT_IMAGES = 2  # the new one, and the one before: a sandbox may be starting with it


@frozen(kw_only=True)
class GroupImage:
    """One image of an agent group that the engine has.

    Args:
        is_stale: It was made on another image than the one that agents have now.
        is_newest: The group has none that was made later.
    """

    name: str
    group: str
    is_stale: bool
    is_newest: bool


class GroupImages:
    """Makes them, in threads of its own: a build must not keep sandboxes waiting for a thread."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._threads = DaemonThreads(BUILDS_AT_ONCE)

    async def make(self, recipe: GroupRecipe, tell: Callable[[str], None]) -> None:
        """Build a group's image unless it is there, telling on the event loop of each step as it begins.

        Raises:
            SandboxRefused: There is no engine.
            SandboxFailed: A step failed; the message has the step and the end of what it said.
        """
        if await self._engine.call(partial(find_image, name=recipe.image)) is not None:
            tell(f"{recipe.image} is there already: the same packages on the same image")
            return
        await self._build(recipe, tell)
        log.info("image of an agent group built", extra={"group": recipe.group_id, "image": recipe.image})
        try:
            await self._engine.call(partial(remove_older, recipe=recipe))
        except NanoclawError as error:
            log.warning("older images not removed", extra={"group": recipe.group_id, "error": str(error)})

    async def _build(self, recipe: GroupRecipe, tell: Callable[[str], None]) -> None:
        loop, is_awaited = asyncio.get_running_loop(), True

        def say(line: str) -> None:
            if is_awaited:  # a build cannot be called off, but who no longer waits for it hears no more of it
                tell(line)

        def progress(step: BuildStep) -> None:
            if step.is_new:
                loop.call_soon_threadsafe(say, step.for_people())

        order = group_order(recipe, self._settings)
        try:
            await self._threads.run(partial(build_image, self._engine, order, self._settings, progress))
        finally:
            is_awaited = False


def find_image(client: APIClient, name: str) -> Mapping[str, Any] | None:
    """Return what the engine knows of an image, or None where it has none of this name."""
    from docker.errors import ImageNotFound

    try:
        found: Mapping[str, Any] = client.inspect_image(name)
    except ImageNotFound:
        return None
    return found


def find_base(client: APIClient, name: str) -> BaseImage | None:
    """Return the image that all agents have, or None where it is missing."""
    found = find_image(client, name)
    if found is None:
        return None
    return BaseImage(name=name, id=found["Id"], user=(found.get("Config") or {}).get("User") or "")


def is_stale(client: APIClient, image: str, base: str) -> bool:
    """Say whether an image was made for a group on something else than what `base` names now."""
    found, beneath = find_image(client, image), find_image(client, base)
    labels = ((found or {}).get("Config") or {}).get("Labels") or {}
    return MADE_ON_LABEL in labels and labels[MADE_ON_LABEL] != (beneath or {}).get("Id")


def group_images(client: APIClient, base: str) -> Sequence[GroupImage]:
    """Return the images of agent groups that the engine has, by name.

    Args:
        base: The name of the image that all agents have.
    """
    beneath = (find_image(client, base) or {}).get("Id")
    found = _oldest_first(client, MADE_FOR_LABEL)
    newest = {image["Labels"][MADE_FOR_LABEL]: image["Id"] for image in found}

    def described(name: str, image: Mapping[str, Any]) -> GroupImage:
        group = image["Labels"][MADE_FOR_LABEL]
        made_on = image["Labels"].get(MADE_ON_LABEL)
        return GroupImage(name=name, group=group, is_stale=made_on != beneath, is_newest=newest[group] == image["Id"])

    named = {tag: image for image in found for tag in image.get("RepoTags") or () if group_of(tag)}
    return [described(name, image) for name, image in sorted(named.items())]


def remove_older(client: APIClient, recipe: GroupRecipe) -> None:
    """Remove a group's images but the last two; what a container uses the engine keeps."""
    from docker.errors import APIError

    made = (f"{MADE_BY_LABEL}={recipe.instance_id}", f"{MADE_FOR_LABEL}={recipe.group_id}")
    for image in _oldest_first(client, *made)[:-KEPT_IMAGES]:
        if recipe.image not in (image.get("RepoTags") or ()):
            with contextlib.suppress(APIError):
                client.remove_image(image["Id"])


def _oldest_first(client: APIClient, *labels: str) -> Sequence[Mapping[str, Any]]:
    def made_at(image: Mapping[str, Any]) -> str:  # the list itself knows seconds only
        return str((find_image(client, image["Id"]) or {}).get("Created", "")).rstrip("Z")

    return sorted(client.images(filters={"label": list(labels)}), key=made_at)
