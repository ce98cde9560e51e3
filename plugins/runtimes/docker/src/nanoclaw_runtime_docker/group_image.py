"""The images of agent groups in the engine: build them, detect stale ones, remove old ones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nanoclaw_core import NanoclawError
from nanoclaw_runtime_docker.build import BuildStep, build_image, group_build
from nanoclaw_runtime_docker.engine import Engine
from nanoclaw_runtime_docker.group_recipe import (
    BASE_LABEL,
    BUILDER_LABEL,
    GROUP_LABEL,
    BaseImage,
    GroupRecipe,
    group_of,
)
from nanoclaw_runtime_docker.settings import Settings
from nanoclaw_runtime_docker.threads import DaemonExecutor

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

MAX_BUILDS = 2  # a build uses a whole processor and the disk, which running agents need too
MAX_BUILD_THREADS = 8  # with those whose callers gave up
KEPT_IMAGES = 2  # the new one and its predecessor, with which a sandbox may be starting


@frozen(kw_only=True)
class GroupImage:
    """An existing image of an agent group.

    Args:
        is_stale: True if it was built on another image than the current agent image.
        is_newest: True if the group has no later image.
    """

    name: str
    group: str
    is_stale: bool
    is_newest: bool


class GroupImageBuilder:
    """Builds images of agent groups, in threads of its own so that sandboxes never wait for a thread."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._executor = DaemonExecutor(MAX_BUILDS, MAX_BUILD_THREADS)

    async def build(self, recipe: GroupRecipe, progress: Callable[[str], None]) -> None:
        """Build a group's image unless it exists, and remove the group's older images.

        Call `progress` on the event loop with a line for each step as it begins.

        Raises:
            SandboxRefused: No engine exists.
            SandboxFailed: A step failed; the message has the step and the end of its output.
        """
        if await self._engine.call(partial(find_image, name=recipe.image)) is not None:
            progress(f"{recipe.image} exists already: the same packages on the same image")
            return
        await self._build(recipe, progress)
        log.info("image of an agent group built", extra={"group": recipe.group_id, "image": recipe.image})
        try:
            await self._engine.call(partial(remove_older, recipe=recipe))
        except NanoclawError as error:
            log.warning("older images not removed", extra={"group": recipe.group_id, "error": str(error)})

    async def _build(self, recipe: GroupRecipe, progress: Callable[[str], None]) -> None:
        loop, is_awaited = asyncio.get_running_loop(), True

        def report(line: str) -> None:
            if is_awaited:  # a cancelled build continues in its thread, but must not call its caller any more
                progress(line)

        def on_step(step: BuildStep) -> None:
            if step.is_new:
                loop.call_soon_threadsafe(report, step.summary())

        request = group_build(recipe, self._settings)
        try:
            await self._executor.run(partial(build_image, self._engine, request, self._settings, on_step))
        finally:
            is_awaited = False


def find_image(client: APIClient, name: str) -> Mapping[str, Any] | None:
    """Return the engine's description of an image, or None if it has no image of this name."""
    from docker.errors import ImageNotFound

    try:
        description: Mapping[str, Any] = client.inspect_image(name)
    except ImageNotFound:
        return None
    return description


def find_base(client: APIClient, name: str) -> BaseImage | None:
    """Return the agent image, or None if it is missing."""
    description = find_image(client, name)
    if description is None:
        return None
    return BaseImage(name=name, id=description["Id"], user=(description.get("Config") or {}).get("User") or "")


def is_stale(client: APIClient, image: str, base: str) -> bool:
    """Return whether a group's image was built on another image than the one that `base` names now."""
    description, base_description = find_image(client, image), find_image(client, base)
    labels = ((description or {}).get("Config") or {}).get("Labels") or {}
    return BASE_LABEL in labels and labels[BASE_LABEL] != (base_description or {}).get("Id")


def group_images(client: APIClient, base: str) -> Sequence[GroupImage]:
    """Return the engine's images of agent groups, sorted by name. `base` names the agent image."""
    base_id = (find_image(client, base) or {}).get("Id")
    images = _oldest_first(client, GROUP_LABEL)
    newest = {image["Labels"][GROUP_LABEL]: image["Id"] for image in images}

    def describe(name: str, image: Mapping[str, Any]) -> GroupImage:
        group = image["Labels"][GROUP_LABEL]
        own_base_id = image["Labels"].get(BASE_LABEL)
        is_newest = newest[group] == image["Id"]
        return GroupImage(name=name, group=group, is_stale=own_base_id != base_id, is_newest=is_newest)

    by_name = {tag: image for image in images for tag in image.get("RepoTags") or () if group_of(tag)}
    return [describe(name, image) for name, image in sorted(by_name.items())]


def remove_older(client: APIClient, recipe: GroupRecipe) -> None:
    """Remove a group's images except the last two. The engine keeps an image that a container uses."""
    from docker.errors import APIError

    labels = (f"{BUILDER_LABEL}={recipe.instance_id}", f"{GROUP_LABEL}={recipe.group_id}")
    for image in _oldest_first(client, *labels)[:-KEPT_IMAGES]:
        if recipe.image not in (image.get("RepoTags") or ()):
            with contextlib.suppress(APIError):
                client.remove_image(image["Id"])


def _oldest_first(client: APIClient, *labels: str) -> Sequence[Mapping[str, Any]]:
    def created_at(image: Mapping[str, Any]) -> str:  # the list itself has a resolution of one second
        return str((find_image(client, image["Id"]) or {}).get("Created", "")).rstrip("Z")

    return sorted(client.images(filters={"label": list(labels)}), key=created_at)
