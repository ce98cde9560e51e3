"""The docker runtime: it runs each sandbox in a container."""

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
from nanoclaw_wire.task_set import TaskSet

from nanoclaw_core import (
    GroupId,
    HeldMount,
    NanoclawError,
    Packages,
    PluginContext,
    Readiness,
    SandboxFailed,
    SandboxRefused,
    SandboxRequirements,
    SandboxSpec,
    change_owner,
    hold_mounts,
    require_mounted,
)
from nanoclaw_core import Sandbox as SandboxProtocol
from nanoclaw_runtime_docker.build import BuildStep, Progress, agent_build, build_image
from nanoclaw_runtime_docker.container import (
    INSTANCE_LABEL,
    User,
    choose_user,
    creation_arguments,
    host_config_arguments,
)
from nanoclaw_runtime_docker.engine import Engine, EngineFailed, EngineRefused
from nanoclaw_runtime_docker.exit_watcher import ExitWatcher
from nanoclaw_runtime_docker.group_image import GroupImageBuilder, find_base, find_image, is_stale
from nanoclaw_runtime_docker.group_recipe import GroupRecipe, group_of, rebuild_command
from nanoclaw_runtime_docker.recipe import REPOSITORY, Recipe, make_recipe
from nanoclaw_runtime_docker.sandbox import DockerSandbox
from nanoclaw_runtime_docker.settings import Settings

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger("nanoclaw.docker")

CHECK_S = 9.0
DISCARD_S = 1.0  # keeps the stop short; the next host reaps containers that a hanging engine has not removed
BUILD_COMMAND = "ncl image build"


@frozen(kw_only=True)
class EngineInfo:
    """An engine's description of itself and of our image.

    Args:
        other_tags: Agent images that were built for another set of plugins or versions.
    """

    name: str
    version: str
    is_rootless: bool
    has_image: bool
    other_tags: Sequence[str]


class DockerRuntime:
    """Runs sandboxes in containers.

    A stray is a container of this instance with a name that this host does not use. An earlier host left it, or an
    engine that reported a failure created it all the same. A stray's runner would work on a session at the same time as
    the runner that we start. So the runtime removes possible strays before it starts a sandbox.
    """

    def __init__(self, settings: Settings, context: PluginContext, requirements: Sequence[SandboxRequirements]) -> None:
        self._settings, self._context, self._requirements = settings, context, requirements
        self._plugin_variables = {name: value for need in requirements for name, value in need.environment.items()}
        self._engine = Engine(settings.docker_host, context.environment, settings.engine_timeout_s)
        self._group_image_builder = GroupImageBuilder(self._engine, settings)
        self._exit_watcher = ExitWatcher(self._engine, context.instance_id)
        self._running: dict[str, DockerSandbox] = {}
        self._names: set[str] = set()  # running containers and those under construction; threads read it
        self._may_have_strays = False
        self._reaping = asyncio.Lock()
        self._discarding = TaskSet()
        self._user: User | None = None
        self._recipe: Recipe | None = None

    async def check(self) -> Readiness:
        """Ask the engine for its version and for the image."""
        try:
            async with asyncio.timeout(CHECK_S):
                image = await self._agent_image()
                info = await self._engine.query(partial(_engine_info, image=image))
        except TimeoutError:
            problem = f"the Docker engine at {self._engine.address} does not answer"
            return Readiness(ready=False, isolates=True, detail=problem, remedy="Check whether it is overloaded.")
        except (EngineRefused, EngineFailed) as error:
            return Readiness(ready=False, isolates=True, detail=error.problem, remedy=error.remedy)
        engine = f"{info.name} {info.version}"
        if info.has_image:
            return Readiness(ready=True, isolates=True, detail=f"{engine}, image {image}")
        remedy = self._image_remedy(image)
        return Readiness(
            ready=False, isolates=True, detail=f"{engine}, {_missing(image, info.other_tags)}", remedy=remedy
        )

    async def shown_directories(self) -> Sequence[Path]:
        """Return an empty sequence: a container sees only its image and its mounts."""
        return ()

    async def start(self, spec: SandboxSpec) -> SandboxProtocol:
        """Create a container and start it."""
        async with self._reaping:
            if self._may_have_strays:
                await self.reap()
        base = await self._agent_image()
        image = spec.image or base
        user = await self._sandbox_user()
        await self._exit_watcher.open()
        create = partial(self._create_and_start, spec=spec, image=image, base=base, user=user)
        container_id = await self._create_with_reserved_name(create, spec.name)
        sandbox = DockerSandbox(self._engine, container_id, partial(self._forget, container_id, spec.name))
        self._running[container_id] = sandbox
        self._exit_watcher.watch(container_id, sandbox.poll)
        sandbox.poll()  # it may have ended before the watch began
        log.info(
            "sandbox started",
            extra={"session": spec.session_id, "sandbox": spec.name, "container": container_id[:12], "image": image},
        )
        return sandbox

    async def reap(self) -> int:
        """Remove this instance's strays, including those that never started, and return their number."""
        self._may_have_strays = False  # first: a start that fails during the listing must set it again
        try:
            return await self._engine.call(
                partial(_remove_others, instance_id=self._context.instance_id, ours=self._names)
            )
        except BaseException:
            self._may_have_strays = True
            raise

    async def build(self, progress: Progress, *, base_image: str | None = None) -> str:
        """Build the agent image and return its name. Call `progress` on the event loop for each line of output.

        Raises:
            SandboxRefused: A package name is malformed, or no engine exists; nothing was built.
            SandboxFailed: A step failed; the message has the step and the end of its output.
        """
        recipe = await asyncio.to_thread(make_recipe, self._requirements, base_image or self._settings.base_image)
        loop = asyncio.get_running_loop()

        def report(step: BuildStep) -> None:
            loop.call_soon_threadsafe(progress, step)

        request = await asyncio.to_thread(agent_build, recipe, self._settings)
        await asyncio.to_thread(build_image, self._engine, request, self._settings, report)
        return recipe.image

    async def build_for(self, group_id: GroupId, packages: Packages, tell: Callable[[str], None]) -> str:
        """Build an agent group's image on top of the agent image, and return its name."""
        if not packages:
            raise SandboxRefused(f"{group_id} has no packages; it uses the image that all agents share")
        name = await self._agent_image()
        base = await self._engine.call(partial(find_base, name=name))
        if base is None:
            raise SandboxRefused(
                f"image {name} is missing; the group's image is built on it. {self._image_remedy(name)}"
            )
        recipe = GroupRecipe(base=base, instance_id=self._context.instance_id, group_id=group_id, packages=packages)
        await self._group_image_builder.build(recipe, tell)
        return recipe.image

    async def close(self) -> None:
        """Close the connections to the engine; containers keep running."""
        await self._exit_watcher.close()
        for sandbox in self._running.values():
            sandbox.detach()
        await self._discarding.wait(DISCARD_S)
        await self._discarding.close(DISCARD_S)
        self._engine.close()

    def _forget(self, container_id: str, name: str) -> None:
        self._running.pop(container_id, None)
        self._names.discard(name)
        self._exit_watcher.forget(container_id)

    async def _create_with_reserved_name(self, create: Callable[[APIClient], str], name: str) -> str:
        """Create a container in a thread. Its name stays reserved as long as it may come to exist."""
        if name in self._names:
            raise SandboxFailed(f"a sandbox named {name!r} is still running; try again after its end")
        self._names.add(name)
        creating = asyncio.ensure_future(self._engine.call(create))
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            # The thread cannot be cancelled, so its container is removed afterwards.
            self._discarding.spawn(self._discard(creating, name))
            raise
        except BaseException:
            self._names.discard(name)
            self._may_have_strays = True  # an engine that reports a failure may have created it all the same
            raise

    async def _agent_image(self) -> str:
        if self._settings.image:
            return self._settings.image
        if self._recipe is None:
            self._recipe = await asyncio.to_thread(make_recipe, self._requirements, self._settings.base_image)
        return self._recipe.image

    def _image_remedy(self, image: str) -> str:
        if image == self._settings.image:
            return f"Pull or build {image}, or remove `image` under [plugins.docker]."
        if group := group_of(image):
            return f"Build it: {rebuild_command(group)}"
        if image.startswith(f"{REPOSITORY}:"):
            return f"Build it: {BUILD_COMMAND}"
        return f"Pull or build {image}, or remove it from the agent group's config."

    async def _sandbox_user(self) -> User:
        if self._user is None:
            info = await self._engine.query(partial(_engine_info, image=""))
            is_podman = "podman" in info.name.lower()
            self._user = choose_user(os.getuid(), os.getgid(), is_rootless=info.is_rootless, is_podman=is_podman)
        return self._user

    def _create_and_start(self, client: APIClient, spec: SandboxSpec, image: str, base: str, user: User) -> str:
        if (group := group_of(image)) and is_stale(client, image, base):
            log.warning(
                "image of an agent group is stale",
                extra={"session": spec.session_id, "image": image, "base": base, "remedy": rebuild_command(group)},
            )
        with hold_mounts(spec.mounts) as held:
            if os.getuid() == 0 and user.user_id != 0:
                change_owner(held, user.user_id, user.group_id)
            host_config = client.create_host_config(**host_config_arguments(spec, user, self._settings))
            arguments = creation_arguments(spec, image, user, self._context.instance_id, self._plugin_variables)
            container_id = self._create(client, {**arguments, "host_config": host_config})
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
            missing = _missing(image, _engine_info(client, image).other_tags)
            raise SandboxRefused(f"{missing}. {self._image_remedy(image)}") from error
        except APIError as error:
            if error.status_code != 409:
                raise
        self._release_name(client, arguments["name"])
        return str(client.create_container(**arguments)["Id"])

    def _release_name(self, client: APIClient, name: str) -> None:
        """Remove the container that holds a name, if it is this instance's: a reserved name has no running sandbox."""
        holder = client.inspect_container(name)
        if (holder["Config"].get("Labels") or {}).get(INSTANCE_LABEL) != self._context.instance_id:
            raise SandboxFailed(
                f"another instance has a container named {name!r} ({holder['Id'][:12]});"
                " try again after its end, or remove it"
            )
        client.remove_container(holder["Id"], force=True, v=True)

    async def _discard(self, creating: asyncio.Future[str], name: str) -> None:
        try:
            container_id = await creating
            await self._engine.call(lambda client: client.remove_container(container_id, force=True, v=True))
        except NanoclawError as error:
            self._may_have_strays = True
            log.warning("cancelled sandbox may have started", extra={"sandbox": name, "error": str(error)})
        finally:
            self._names.discard(name)


def _require_mounted(client: APIClient, container_id: str, held: Sequence[HeldMount]) -> None:
    """Compare the directories that the engine mounted with the held ones, if this host can see the container's files.

    It can see them if the engine runs on this kernel: then the session's first own directory is the held one. The
    runner is still starting at this moment, so no code of the model has run.

    Raises:
        SandboxRefused: Another directory is mounted.
    """
    root = Path(f"/proc/{client.inspect_container(container_id)['State']['Pid']}/root")
    try:
        require_mounted([held_mount for held_mount in held if held_mount.mount.identity is None][:1], root)
    except (SandboxRefused, OSError):
        return  # the engine runs on a remote or virtual machine, or the container has ended already
    with contextlib.suppress(OSError):  # the container has ended since
        require_mounted(held, root)


def _engine_info(client: APIClient, image: str) -> EngineInfo:
    information, version = client.info(), client.version()
    components = version.get("Components") or [{}]
    tags = [tag for image_data in client.images() for tag in image_data.get("RepoTags") or ()]
    return EngineInfo(
        name="Podman" if "podman" in str(components[0].get("Name")).lower() else "Docker Engine",
        version=str(version.get("Version", "of unknown version")),
        is_rootless=any("rootless" in option for option in information.get("SecurityOptions") or ()),
        has_image=bool(image) and find_image(client, image) is not None,
        other_tags=sorted(tag for tag in tags if tag.startswith(f"{REPOSITORY}:") and tag != image),
    )


def _missing(image: str, other_tags: Sequence[str]) -> str:
    if image.startswith(f"{REPOSITORY}:") and other_tags:
        return f"image {image} is missing; {', '.join(other_tags)} is stale (built for other plugins or versions)"
    return f"image {image} is missing"


def _remove_others(client: APIClient, instance_id: str, ours: Container[str]) -> int:
    """Remove the instance's containers that have none of our names, and return their number.

    A name is reserved before its container can exist, and the names are compared after the containers are listed. So
    a container under construction never counts as a stray.
    """
    listed = client.containers(all=True, filters={"label": f"{INSTANCE_LABEL}={instance_id}"})
    strays = [
        container["Id"]
        for container in listed
        if not any(name.removeprefix("/") in ours for name in container["Names"] or ())
    ]
    return sum(_remove(client, container_id) for container_id in strays)


def _remove(client: APIClient, container_id: str) -> bool:
    """Remove a container and return whether it existed. Leave a dead one that cannot be removed: it is harmless."""
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
