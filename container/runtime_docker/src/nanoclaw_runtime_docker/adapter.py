"""The running half of the docker runtime."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nanoclaw_core import (
    GroupId,
    HeldMount,
    NanoclawError,
    Packages,
    PluginContext,
    Readiness,
    SandboxFailed,
    SandboxPart,
    SandboxRefused,
    SandboxSpec,
    hand_over,
    hold_mounts,
    require_mounted,
)
from nanoclaw_core import Sandbox as SandboxProtocol
from nanoclaw_runtime_docker.build import BuildStep, Progress, agent_order, build_image
from nanoclaw_runtime_docker.container import INSTANCE_LABEL, User, choose_user, confinement, creation
from nanoclaw_runtime_docker.ends import EndWatch
from nanoclaw_runtime_docker.engine import Engine, EngineFailed, EngineRefused
from nanoclaw_runtime_docker.group_image import GroupImages, find_base, find_image, is_stale
from nanoclaw_runtime_docker.group_recipe import GroupRecipe, group_of, rebuild_command
from nanoclaw_runtime_docker.recipe import REPOSITORY, Recipe, recipe_of
from nanoclaw_runtime_docker.sandbox import DockerSandbox
from nanoclaw_runtime_docker.settings import Settings

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

CHECK_S = 9.0
DISCARD_S = 1.0  # a stop is in a hurry, and what an engine that hangs does not take away the next host reaps
BUILD = "ncl image build"


@frozen(kw_only=True)
class Survey:
    """What an engine said of itself and of our image.

    Args:
        other_tags: Images of ours that were made for another set of parts.
    """

    name: str
    version: str
    is_rootless: bool
    has_image: bool
    other_tags: Sequence[str]


class DockerRuntime:
    """Makes sandboxes out of containers.

    A container of this instance whose name is not among ours is a stray: an earlier host left it, or an engine that
    failed made it after all. A stray's runner would work on a session beside the one that we start, so wherever there
    may be one, strays are ended before anything is started.
    """

    def __init__(self, settings: Settings, context: PluginContext, parts: Sequence[SandboxPart]) -> None:
        self._settings, self._context, self._parts = settings, context, parts
        self._part_variables = {name: value for part in parts for name, value in part.environment.items()}
        self._engine = Engine(settings.docker_host, context.environment, settings.engine_timeout_s)
        self._group_images = GroupImages(self._engine, settings)
        self._ends = EndWatch(self._engine, context.instance_id)
        self._running: dict[str, DockerSandbox] = {}
        self._names: set[str] = set()  # of what runs and of what is being made; threads look into it
        self._may_have_strays = False
        self._ending_strays = asyncio.Lock()
        self._discarding: set[asyncio.Task[None]] = set()
        self._user: User | None = None
        self._recipe: Recipe | None = None

    async def check(self) -> Readiness:
        """Ask the engine for its version and for the image."""
        try:
            async with asyncio.timeout(CHECK_S):
                image = await self._image()
                survey = await self._engine.look(partial(_survey, image=image))
        except TimeoutError:
            what, remedy = (
                f"the Docker engine at {self._engine.address} does not answer",
                "Look whether it is overloaded.",
            )
            return Readiness(ready=False, isolates=True, detail=what, remedy=remedy)
        except (EngineRefused, EngineFailed) as error:
            return Readiness(ready=False, isolates=True, detail=error.what, remedy=error.remedy)
        engine = f"{survey.name} {survey.version}"
        if survey.has_image:
            return Readiness(ready=True, isolates=True, detail=f"{engine}, image {image}")
        remedy = self._image_remedy(image)
        return Readiness(
            ready=False, isolates=True, detail=f"{engine}, {_missing(image, survey.other_tags)}", remedy=remedy
        )

    async def shown_directories(self) -> Sequence[Path]:
        """Return nothing: a container sees its image and its mounts."""
        return ()

    async def start(self, spec: SandboxSpec) -> SandboxProtocol:
        """Make a container and start it."""
        async with self._ending_strays:
            if self._may_have_strays:
                await self.reap()
        base = await self._image()
        image = spec.image or base
        user = await self._inside_user()
        await self._ends.open()
        container_id = await self._made(spec, partial(self._make, spec=spec, image=image, base=base, user=user))
        sandbox = DockerSandbox(self._engine, container_id, partial(self._forget, container_id, spec.name))
        self._running[container_id] = sandbox
        self._ends.watch(container_id, sandbox.look)
        sandbox.look()  # it may have ended before anybody watched
        log.info(
            "sandbox started",
            extra={"session": spec.session_id, "sandbox": spec.name, "container": container_id[:12], "image": image},
        )
        return sandbox

    async def reap(self) -> int:
        """Remove the containers of this instance that are not ours, also those that never started."""
        self._may_have_strays = False  # said first: what fails while we look is not seen by this look
        try:
            return await self._engine.call(
                partial(_remove_others, instance_id=self._context.instance_id, ours=self._names)
            )
        except BaseException:
            self._may_have_strays = True
            raise

    async def build(self, progress: Progress, *, base_image: str | None = None) -> str:
        """Build the image, telling of every step on the event loop, and return its name.

        Raises:
            SandboxRefused: A package name is none, or there is no engine; nothing was built.
            SandboxFailed: A step failed; the message has the step and the end of what it said.
        """
        recipe = await asyncio.to_thread(recipe_of, self._parts, base_image or self._settings.base_image)
        loop = asyncio.get_running_loop()

        def tell(step: BuildStep) -> None:
            loop.call_soon_threadsafe(progress, step)

        order = await asyncio.to_thread(agent_order, recipe, self._settings)
        await asyncio.to_thread(build_image, self._engine, order, self._settings, tell)
        return recipe.image

    async def build_for(self, group_id: GroupId, packages: Packages, tell: Callable[[str], None]) -> str:
        """Make the image of an agent group out of the one that all have, and return its name."""
        if not packages:
            raise SandboxRefused(f"{group_id} has no packages; it needs no image but the one that all agents have")
        name = await self._image()
        base = await self._engine.call(partial(find_base, name=name))
        if base is None:
            raise SandboxRefused(f"image {name} is missing, on which the group's is made. {self._image_remedy(name)}")
        recipe = GroupRecipe(base=base, instance_id=self._context.instance_id, group_id=group_id, packages=packages)
        await self._group_images.make(recipe, tell)
        return recipe.image

    async def close(self) -> None:
        """Let go of the engine; containers stay."""
        await self._ends.close()
        for sandbox in self._running.values():
            sandbox.let_go()
        if self._discarding:
            _, late = await asyncio.wait(self._discarding, timeout=DISCARD_S)
            for task in late:
                task.cancel()
        self._engine.close()

    def _forget(self, container_id: str, name: str) -> None:
        self._running.pop(container_id, None)
        self._names.discard(name)
        self._ends.forget(container_id)

    async def _made(self, spec: SandboxSpec, make: Callable[[APIClient], str]) -> str:
        """Have a container made; its name is ours as long as it may come to be."""
        if spec.name in self._names:
            raise SandboxFailed(f"a sandbox named {spec.name!r} is still running; try again after its end")
        self._names.add(spec.name)
        making = asyncio.ensure_future(self._engine.call(make))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._discard(making, spec.name)  # a thread cannot be called off: what it still makes is taken away
            raise
        except BaseException:
            self._names.discard(spec.name)
            self._may_have_strays = True  # an engine that fails may have done it all the same
            raise

    async def _image(self) -> str:
        if self._settings.image:
            return self._settings.image
        if self._recipe is None:
            self._recipe = await asyncio.to_thread(recipe_of, self._parts, self._settings.base_image)
        return self._recipe.image

    def _image_remedy(self, image: str) -> str:
        if image == self._settings.image:
            return f"Pull or build {image}, or remove `image` under [plugins.docker]."
        if group := group_of(image):
            return f"Build it: {rebuild_command(group)}"
        if image.startswith(f"{REPOSITORY}:"):
            return f"Build it: {BUILD}"
        return f"Pull or build {image}, or take it out of the agent group's config."

    async def _inside_user(self) -> User:
        if self._user is None:
            survey = await self._engine.look(partial(_survey, image=""))
            is_podman = "podman" in survey.name.lower()
            self._user = choose_user(os.getuid(), os.getgid(), is_rootless=survey.is_rootless, is_podman=is_podman)
        return self._user

    def _make(self, client: APIClient, spec: SandboxSpec, image: str, base: str, user: User) -> str:
        if (group := group_of(image)) and is_stale(client, image, base):
            log.warning(
                "image of an agent group is stale",
                extra={"session": spec.session_id, "image": image, "base": base, "remedy": rebuild_command(group)},
            )
        with hold_mounts(spec.mounts) as held:
            if os.getuid() == 0 and user.user_id != 0:
                hand_over(held, user.user_id, user.group_id)
            confined = client.create_host_config(**confinement(spec, user, self._settings))
            arguments = creation(spec, image, user, self._context.instance_id, self._part_variables)
            container_id = self._create(client, {**arguments, "host_config": confined})
            try:
                client.start(container_id)
                _require_mounted(client, container_id, held)
            except BaseException:
                client.remove_container(container_id, force=True, v=True)
                raise
        return container_id

    def _create(self, client: APIClient, arguments: Mapping[str, Any]) -> str:
        from docker.errors import APIError, ImageNotFound

        try:
            return str(client.create_container(**arguments)["Id"])
        except ImageNotFound as error:
            image = arguments["image"]
            missing = _missing(image, _survey(client, image).other_tags)
            raise SandboxRefused(f"{missing}. {self._image_remedy(image)}") from error
        except APIError as error:
            if error.status_code != 409:
                raise
        self._free_name(client, arguments["name"])
        return str(client.create_container(**arguments)["Id"])

    def _free_name(self, client: APIClient, name: str) -> None:
        """Remove what has our name, if it is of this instance: nothing of ours runs under a name that is only given."""
        holder = client.inspect_container(name)
        if (holder["Config"].get("Labels") or {}).get(INSTANCE_LABEL) != self._context.instance_id:
            raise SandboxFailed(
                f"a container named {name!r} is there already ({holder['Id'][:12]}, of another instance);"
                " try again after its end, or remove it"
            )
        client.remove_container(holder["Id"], force=True, v=True)

    def _discard(self, making: asyncio.Future[str], name: str) -> None:
        async def discard() -> None:
            try:
                container_id = await making
                await self._engine.call(lambda client: client.remove_container(container_id, force=True, v=True))
            except NanoclawError as error:
                self._may_have_strays = True
                log.warning("sandbox that nobody wants may have started", extra={"sandbox": name, "error": str(error)})
            finally:
                self._names.discard(name)

        task = asyncio.get_running_loop().create_task(discard())
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)


def _require_mounted(client: APIClient, container_id: str, held: Sequence[HeldMount]) -> None:
    """Compare what the engine mounted by name with what is held, as far as this host can look into the container.

    It can if the engine runs on this kernel: then the session's own first directory is there and is the held one. The
    runner is still starting at this moment, and nothing that the model wants has run.

    Raises:
        SandboxRefused: Another directory is mounted.
    """
    root = Path(f"/proc/{client.inspect_container(container_id)['State']['Pid']}/root")
    try:
        require_mounted([one for one in held if one.mount.identity is None][:1], root)
    except (SandboxRefused, OSError):
        return  # an engine elsewhere (a remote or virtual machine), or a container that has ended already
    with contextlib.suppress(OSError):  # it ended meanwhile
        require_mounted(held, root)


def _survey(client: APIClient, image: str) -> Survey:
    information, version = client.info(), client.version()
    components = version.get("Components") or [{}]
    tags = [tag for found in client.images() for tag in found.get("RepoTags") or ()]
    return Survey(
        name="Podman" if "podman" in str(components[0].get("Name")).lower() else "Docker Engine",
        version=str(version.get("Version", "of unknown version")),
        is_rootless=any("rootless" in option for option in information.get("SecurityOptions") or ()),
        has_image=bool(image) and find_image(client, image) is not None,
        other_tags=sorted(tag for tag in tags if tag.startswith(f"{REPOSITORY}:") and tag != image),
    )


def _missing(image: str, other_tags: Sequence[str]) -> str:
    if image.startswith(f"{REPOSITORY}:") and other_tags:
        return f"image {image} is missing; {', '.join(other_tags)} is stale (made for other plugins or versions)"
    return f"image {image} is missing"


def _remove_others(client: APIClient, instance_id: str, ours: Container[str]) -> int:
    """Remove what is labelled as this instance's and has none of our names; return how many there were.

    A name is ours before its container can be there, and the names are looked at after the containers: so what is being
    made meanwhile is never taken for a stray.
    """
    found = client.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={instance_id}"})
    others = [one["Id"] for one in found if not any(name.removeprefix("/") in ours for name in one["Names"] or ())]
    return sum(_removed(client, container_id) for container_id in others)


def _removed(client: APIClient, container_id: str) -> bool:
    """Remove a container, and say whether it was there; one that is dead and cannot be removed harms nobody."""
    from docker.errors import APIError, NotFound

    try:
        client.remove_container(container_id, force=True, v=True)
    except NotFound:
        return False
    except APIError:
        if client.inspect_container(container_id)["State"].get("Running"):
            raise
        return False
    return True
