"""Converts the `container.json` of NanoClaw in TypeScript to a config.

Pure, except for the check of mounts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from attrs import evolve

from nanoclaw_core import ContainerConfig, InvalidArguments, Packages, flag_of
from nanoclaw_resource_configs import changes
from nanoclaw_resource_configs.changes import SCALARS, CheckMount

NAMES = {  # keys of the file, and the columns for them
    "provider": "provider",
    "model": "model",
    "effort": "effort",
    "imageTag": "image_tag",
    "assistantName": "assistant_name",
    "maxMessagesPerPrompt": "max_messages_per_prompt",
}
GROUP_KEYS = ("groupName", "agentGroupId")  # only for readers of the file; the database has its own values
CONTAINER_PREFIX = "/workspace/extra/"
Change = Callable[[ContainerConfig], ContainerConfig]


def config_from(
    empty: ContainerConfig, raw: Mapping[str, Any], check_mount: CheckMount
) -> tuple[ContainerConfig, list[str]]:
    """Return the config that a file describes, and the problems of its ignored parts.

    Args:
        empty: A config of defaults for the agent group.
        raw: The decoded file.
        check_mount: Raises InvalidArguments if the operator does not allow the mount.
    """
    config, problems = empty, []
    for key, change in _changes(raw, check_mount):
        try:
            config = change(config)
        except InvalidArguments as error:
            problems.append(f"{key}: {error}")
    known = {*NAMES, *GROUP_KEYS, "mcpServers", "packages", "additionalMounts", "skills"}
    return config, problems + [f"{key[:100]!r} is not a known key" for key in raw if key not in known]


def _changes(raw: Mapping[str, Any], check_mount: CheckMount) -> Iterator[tuple[str, Change]]:
    for key, column in NAMES.items():
        if raw.get(key) is not None:
            yield key, partial(_with_scalar, column=column, value=raw[key])
    for name, server in _items(raw.get("mcpServers")):
        yield "mcpServers", partial(_with_server, name=name, server=server)
    for source, names in _items(raw.get("packages")):
        for package in names if isinstance(names, list) else [names]:
            yield "packages", partial(_with_package, source=source, package=package)
    mounts = raw.get("additionalMounts") or []
    for mount in mounts if isinstance(mounts, list) else [mounts]:
        yield "additionalMounts", partial(_with_mount, mount=mount, check_mount=check_mount)
    if raw.get("skills") is not None:
        yield "skills", partial(_with_skills, skills=raw["skills"])


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else [("", value)] if value else []


def _with_scalar(config: ContainerConfig, *, column: str, value: Any) -> ContainerConfig:
    return evolve(config, **{column: SCALARS[column](flag_of(column), value)})


def _with_server(config: ContainerConfig, *, name: str, server: Any) -> ContainerConfig:
    if not isinstance(server, Mapping):
        raise InvalidArguments(f"a server must be an object with `command`, got {server!r}")
    return changes.with_server(config, name, server)


def _with_package(config: ContainerConfig, *, source: str, package: Any) -> ContainerConfig:
    if source not in changes.SOURCES:
        raise InvalidArguments(f"a package source must be one of {', '.join(changes.SOURCES)}, got {source!r}")
    Packages(**{source: [package]})
    return changes.add_packages(config, {source: [package]})


def _with_mount(config: ContainerConfig, *, mount: Any, check_mount: CheckMount) -> ContainerConfig:
    if not isinstance(mount, Mapping):
        raise InvalidArguments(f"a mount must be an object with `hostPath`, got {mount!r}")
    target = mount.get("containerPath")
    name = target.removeprefix(CONTAINER_PREFIX) if isinstance(target, str) else target
    arguments = {"path": mount.get("hostPath"), "name": name, "writable": mount.get("readonly") is False}
    return changes.add_mount(config, changes.resolved_mount(arguments, check_mount))


def _with_skills(config: ContainerConfig, *, skills: Any) -> ContainerConfig:
    if skills == []:
        return evolve(config, skills=[])
    return changes.set_skills(config, {"skills": skills if isinstance(skills, list) else [skills]})
