"""The changes that verbs make to a config.

Each function takes a config and arguments, and returns a new config.

A function changes only the settings that it names and ignores every other argument. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from attrs import asdict, evolve
from nanoclaw_wire.config import McpServer

from nanoclaw_core import ContainerConfig, InvalidArguments, Mount, Packages, flag_of
from nanoclaw_resource_configs import values
from nanoclaw_resource_configs.masks import MASK
from nanoclaw_resource_configs.values import one_of, within

EFFORTS = ("low", "medium", "high", "xhigh", "max")
NETWORKS = ("gateway", "open", "none")
CLI_SCOPES = ("disabled", "group", "global")
SCALARS: Mapping[str, values.Check] = {
    "provider": values.plugin_name,
    "model": values.model,
    "effort": one_of(*EFFORTS),
    "image_tag": values.image,
    "assistant_name": values.line,
    "max_messages_per_prompt": within(1, 1_000),
    "network": one_of(*NETWORKS),
    "runtime": values.plugin_name,
    "cli_scope": one_of(*CLI_SCOPES),
}
LIMITS: Mapping[str, values.Check] = {
    "memory_mb": within(64, 16_777_216),
    "cpus": within(0.01, 1_024, float),
    "pids": within(16, 4_194_304),  # the largest process id of Linux
}
CheckMount = Callable[[Mapping[str, Any]], Mount]
SOURCES = ("apt", "npm", "pip")
MAX_PACKAGES = 20  # in one request, because a human must read it


def update(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Change scalars and limits. None resets a setting to its default.

    Raises:
        InvalidArguments: No setting is given, or a value is invalid.
    """
    given = {name: arguments[name] for name in (*SCALARS, *LIMITS) if name in arguments}
    if not given:
        flags = ", ".join(map(flag_of, (*SCALARS, *LIMITS)))
        raise InvalidArguments(f"groups config update: no setting is given. Give at least one of {flags}")
    checked = {name: _checked(name, value) for name, value in given.items()}
    limits = {**config.limits, **{name: value for name, value in checked.items() if name in LIMITS}}
    scalars = {name: value for name, value in checked.items() if name in SCALARS}
    if "cli_scope" in scalars:
        scalars["cli_scope"] = scalars["cli_scope"] or "group"
    return evolve(config, **scalars, limits={name: value for name, value in limits.items() if value is not None})


def add_mcp_server(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Add an MCP server, or replace the one with this name.

    Args:
        config: The config to change.
        arguments: `name` and `command`; `args` and `env` as JSON, `instructions` as text.

    Raises:
        InvalidArguments: One of the arguments is invalid.
    """
    server = {
        "command": arguments["command"],
        "args": values.decoded("--args", arguments.get("args"), []),
        "env": values.decoded("--env", arguments.get("env"), {}),
        "instructions": arguments.get("instructions"),
    }
    return with_server(config, arguments["name"], server)


def with_server(config: ContainerConfig, name: Any, server: Mapping[str, Any]) -> ContainerConfig:
    """Add an MCP server in the shape of a stored config. Unknown keys are ignored."""
    instructions = server.get("instructions")
    checked = McpServer(
        command=values.line("--command", server.get("command")),
        args=values.texts("--args", server.get("args", [])),
        env=values.variables("--env", server.get("env", {})),
        instructions=None if instructions is None else values.text("--instructions", instructions),
    )
    masked = [variable for variable, value in checked.env.items() if value == MASK]
    if masked:
        raise InvalidArguments(f"--env: the value of {masked[0]} is only its mask {MASK}. Give the value itself")
    return evolve(config, mcp_servers={**config.mcp_servers, values.server_name("--name", name): asdict(checked)})


def remove_mcp_server(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Remove an MCP server.

    Raises:
        InvalidArguments: No server has this name.
    """
    name = arguments["name"]
    _require([name], config.mcp_servers, "MCP server")
    servers = {key: server for key, server in config.mcp_servers.items() if key != name}
    return evolve(config, mcp_servers=servers)


def add_packages(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Add packages to those of the config.

    One invalid name rejects the whole request (⚠50, ⚠52).

    Raises:
        InvalidArguments: The request has no package, too many packages, or an invalid name.
    """
    requested = _requested_packages(arguments)
    return evolve(
        config,
        packages_apt=_joined(config.packages_apt, requested.apt),
        packages_npm=_joined(config.packages_npm, requested.npm),
        packages_pip=_joined(config.packages_pip, requested.pip),
    )


def remove_packages(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Remove packages.

    After the last one, the config no longer uses the image built for them (⚠43).

    Raises:
        InvalidArguments: No package is given, or the config does not have one of them.
    """
    requested, present = _requested_packages(arguments), packages_of(config)
    for source in SOURCES:
        _require(getattr(requested, source), getattr(present, source), f"{source} package")
    remaining = Packages(
        **{source: _without(getattr(present, source), getattr(requested, source)) for source in SOURCES}
    )
    return evolve(
        config,
        packages_apt=list(remaining.apt),
        packages_npm=list(remaining.npm),
        packages_pip=list(remaining.pip),
        image_tag=config.image_tag if remaining else None,
    )


def packages_of(config: ContainerConfig) -> Packages:
    """Return the packages of a config.

    Raises:
        InvalidArguments: The row holds an invalid name. No verb writes one.
    """
    return Packages(apt=config.packages_apt, npm=config.packages_npm, pip=config.packages_pip)


def add_mount(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Add a directory of the host. This does not check whether the operator allows it.

    Raises:
        InvalidArguments: The path is not absolute, the name is invalid, or another mount has the name or directory.
    """
    path = values.path("--path", arguments["path"])
    given = arguments.get("name")
    name = values.safe_name("--name", PurePath(path).name if given is None else given)
    if name in map(mount_name, config.additional_mounts):
        raise InvalidArguments(f"--name: another mount is named {name!r}. Remove that mount or choose another name")
    mount = {"path": path, "name": name, "writable": arguments.get("writable") is True}
    identity = arguments.get("identity")
    if identity is not None:
        same = next((mount for mount in config.additional_mounts if mount.get("identity") == identity), None)
        if same is not None:
            problem = f"--path: {path} is already mounted as {mount_name(same)!r}. Remove that mount first"
            raise InvalidArguments(problem)
        mount["identity"] = identity
    return evolve(config, additional_mounts=[*config.additional_mounts, mount])


def resolved_mount(arguments: Mapping[str, Any], check_mount: CheckMount) -> Mapping[str, Any]:
    """Return the arguments of `add_mount` with a resolved path.

    They also get the identity of its directory.

    The sandbox gets exactly this directory. If the path leads elsewhere later, the sandbox gets no mount.

    Args:
        arguments: `path`; `name` and `writable` are optional.
        check_mount: Raises InvalidArguments if the operator does not allow the mount.
    """
    values.path("--path", arguments.get("path"))
    mount = check_mount(arguments)
    name = mount.target.rpartition("/")[2]
    resolved = {"path": str(mount.source), "name": name, "writable": mount.writable}
    return {**arguments, **resolved, "identity": mount.identity.to_text() if mount.identity else None}


def remove_mount(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Remove a mount by its name.

    Raises:
        InvalidArguments: No mount has this name.
    """
    name = arguments["name"]
    _require([name], [mount_name(mount) for mount in config.additional_mounts], "mount")
    return evolve(config, additional_mounts=[mount for mount in config.additional_mounts if mount_name(mount) != name])


def mount_name(mount: Mapping[str, Any]) -> str:
    """Return the name of a mount in the sandbox."""
    return str(mount.get("name") or PurePath(str(mount.get("path"))).name)


def set_skills(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Choose the skills: all, none, or some by name.

    Raises:
        InvalidArguments: A name is invalid, or `all` or `none` stands beside other names.
    """
    given = arguments["skills"]
    if given in (["all"], ["none"]):
        return evolve(config, skills="all" if given == ["all"] else [])
    names = [values.safe_name("--skills", name) for text in given for name in _split(text)]
    if not names or {"all", "none"} & set(names):
        expected = "`all`, `none`, or names separated by commas"
        raise InvalidArguments(f"--skills must be {expected}, got {values.shortened(given)}")
    return evolve(config, skills=list(dict.fromkeys(names)))


def _checked(name: str, value: Any) -> Any:
    return None if value is None else {**SCALARS, **LIMITS}[name](flag_of(name), value)


def _requested_packages(arguments: Mapping[str, Any]) -> Packages:
    requested = {source: arguments.get(source) or [] for source in SOURCES}
    count = sum(map(len, requested.values()))
    if not 1 <= count <= MAX_PACKAGES:
        flags = ", ".join(map(flag_of, SOURCES))
        raise InvalidArguments(
            f"packages: must be 1 to {MAX_PACKAGES} in one request, got {count}. Name them with {flags}"
        )
    return Packages(**requested)


def _require(names: Sequence[str], present: Sequence[str] | Mapping[str, Any], kind: str) -> None:
    for name in names:
        if name not in present:
            known = ", ".join(present) or "none"
            raise InvalidArguments(f"the config has no {kind} {name!r}. Known: {known}")


def _joined(present: Sequence[str], added: Sequence[str]) -> list[str]:
    return list(dict.fromkeys((*present, *added)))


def _without(present: Sequence[str], removed: Sequence[str]) -> list[str]:
    return [name for name in present if name not in removed]


def _split(text: Any) -> Sequence[Any]:
    return text.split(",") if isinstance(text, str) else [text]
