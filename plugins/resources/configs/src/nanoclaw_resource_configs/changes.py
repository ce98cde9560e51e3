"""What the verbs make of a config. Pure: each takes a config and arguments, and returns the config as it would be.

Only what a function names is changed, whatever else stands in the arguments. What raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from attrs import asdict, evolve
from nanoclaw_wire.config import McpServer

from nanoclaw_core import ContainerConfig, InvalidArguments, Mount, Packages, flag_of
from nanoclaw_resource_configs import values
from nanoclaw_resource_configs.values import one_of, within

SCALARS: Mapping[str, values.Check] = {
    "provider": values.plugin_name,
    "model": values.model,
    "effort": one_of("low", "medium", "high", "xhigh", "max"),
    "image_tag": values.image,
    "assistant_name": values.line,
    "max_messages_per_prompt": within(1, 1_000),
    "network": one_of("gateway", "open", "none"),
    "runtime": values.plugin_name,
    "cli_scope": one_of("disabled", "group", "global"),
}
LIMITS: Mapping[str, values.Check] = {
    "memory_mb": within(64, 16_777_216),
    "cpus": within(0.01, 1_024, float),
    "pids": within(16, 4_194_304),  # what Linux can count
}
CheckMount = Callable[[Mapping[str, Any]], Mount]
SOURCES = ("apt", "npm", "pip")
PACKAGES_AT_MOST = 20  # in one request: a human has to read it


def update(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Change scalars and limits; None takes one back to where it was before anybody chose.

    Raises:
        InvalidArguments: Nothing is given, or a value does not fit.
    """
    given = {name: arguments[name] for name in (*SCALARS, *LIMITS) if name in arguments}
    if not given:
        flags = ", ".join(map(flag_of, (*SCALARS, *LIMITS)))
        raise InvalidArguments(f"groups config update: nothing to change; there are {flags}")
    checked = {name: _checked(name, value) for name, value in given.items()}
    limits = {**config.limits, **{name: value for name, value in checked.items() if name in LIMITS}}
    scalars = {name: value for name, value in checked.items() if name in SCALARS}
    if "cli_scope" in scalars:
        scalars["cli_scope"] = scalars["cli_scope"] or "group"
    return evolve(config, **scalars, limits={name: value for name, value in limits.items() if value is not None})


def add_mcp_server(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Add an MCP server, in place of one that has the name.

    Args:
        arguments: `name` and `command`; `args` and `env` as JSON, `instructions` as text.

    Raises:
        InvalidArguments: One of them does not fit.
    """
    server = {
        "command": arguments["command"],
        "args": values.decoded("--args", arguments.get("args"), []),
        "env": values.decoded("--env", arguments.get("env"), {}),
        "instructions": arguments.get("instructions"),
    }
    return with_server(config, arguments["name"], server)


def with_server(config: ContainerConfig, name: Any, server: Mapping[str, Any]) -> ContainerConfig:
    """Add an MCP server as it would stand in a config; keys that it does not have there are left out."""
    instructions = server.get("instructions")
    checked = McpServer(
        command=values.line("--command", server.get("command")),
        args=values.texts("--args", server.get("args", [])),
        env=values.variables("--env", server.get("env", {})),
        instructions=None if instructions is None else values.text("--instructions", instructions),
    )
    return evolve(config, mcp_servers={**config.mcp_servers, values.server_name("--name", name): asdict(checked)})


def remove_mcp_server(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Remove an MCP server.

    Raises:
        InvalidArguments: There is none of the name.
    """
    name = arguments["name"]
    _require([name], config.mcp_servers, "MCP server")
    return evolve(config, mcp_servers={other: one for other, one in config.mcp_servers.items() if other != name})


def add_packages(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Add packages to those of the config. One bad name refuses them all (⚠50, ⚠52).

    Raises:
        InvalidArguments: None are given, too many are, or one is no name.
    """
    asked = _packages(arguments)
    return evolve(
        config,
        packages_apt=_joined(config.packages_apt, asked.apt),
        packages_npm=_joined(config.packages_npm, asked.npm),
        packages_pip=_joined(config.packages_pip, asked.pip),
    )


def remove_packages(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Remove packages; with the last one the image that was made for them goes out of use (⚠43).

    Raises:
        InvalidArguments: None are given, or one is not there.
    """
    asked, present = _packages(arguments), packages_of(config)
    for source in SOURCES:
        _require(getattr(asked, source), getattr(present, source), f"{source} package")
    left = Packages(**{one: _without(getattr(present, one), getattr(asked, one)) for one in SOURCES})
    return evolve(
        config,
        packages_apt=list(left.apt),
        packages_npm=list(left.npm),
        packages_pip=list(left.pip),
        image_tag=config.image_tag if left else None,
    )


def packages_of(config: ContainerConfig) -> Packages:
    """Return what an agent group wants installed.

    Raises:
        InvalidArguments: The row holds what is no name; no verb has written that.
    """
    return Packages(apt=config.packages_apt, npm=config.packages_npm, pip=config.packages_pip)


def add_mount(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Add a directory of the host. Whether the operator allows it is not known here.

    Raises:
        InvalidArguments: The path is not absolute, the name cannot be used, or the name or the directory is taken.
    """
    path = values.path("--path", arguments["path"])
    given = arguments.get("name")
    name = values.safe_name("--name", PurePath(path).name if given is None else given)
    if name in map(mount_name, config.additional_mounts):
        raise InvalidArguments(f"there is a mount with the name {name!r} already; remove it, or give another --name")
    mount = {"path": path, "name": name, "writable": arguments.get("writable") is True}
    identity = arguments.get("identity")
    if identity is not None:
        same = next((one for one in config.additional_mounts if one.get("identity") == identity), None)
        if same is not None:
            taken = f"--path: {path} is mounted already, as {mount_name(same)!r}. Remove that mount first"
            raise InvalidArguments(taken)
        mount["identity"] = identity
    return evolve(config, additional_mounts=[*config.additional_mounts, mount])


def resolved_mount(arguments: Mapping[str, Any], check_mount: CheckMount) -> Mapping[str, Any]:
    """Return the arguments of `add_mount` with the directory that the path leads to, and its identity.

    The sandbox gets that directory or nothing, wherever the path leads later.

    Args:
        check_mount: Raises InvalidArguments where the operator allows no such mount.
    """
    values.path("--path", arguments.get("path"))
    mount = check_mount(arguments)
    name = mount.target.rpartition("/")[2]
    found = {"path": str(mount.source), "name": name, "writable": mount.writable}
    return {**arguments, **found, "identity": mount.identity.to_text() if mount.identity else None}


def remove_mount(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Remove a mount by its name.

    Raises:
        InvalidArguments: There is none of the name.
    """
    name = arguments["name"]
    _require([name], [mount_name(one) for one in config.additional_mounts], "mount")
    return evolve(config, additional_mounts=[one for one in config.additional_mounts if mount_name(one) != name])


def mount_name(mount: Mapping[str, Any]) -> str:
    """Return what a mount is called in the sandbox."""
    return str(mount.get("name") or PurePath(str(mount.get("path"))).name)


def set_skills(config: ContainerConfig, arguments: Mapping[str, Any]) -> ContainerConfig:
    """Choose the skills: all of them, none, or some by name.

    Raises:
        InvalidArguments: A name cannot be one, or `all` or `none` is one of several.
    """
    given = arguments["skills"]
    if given in (["all"], ["none"]):
        return evolve(config, skills="all" if given == ["all"] else [])
    names = [values.safe_name("--skills", name) for text in given for name in _split(text)]
    if not names or {"all", "none"} & set(names):
        raise InvalidArguments("--skills is `all`, `none`, or names with commas between")
    return evolve(config, skills=list(dict.fromkeys(names)))


def _checked(name: str, value: Any) -> Any:
    return None if value is None else {**SCALARS, **LIMITS}[name](flag_of(name), value)


def _packages(arguments: Mapping[str, Any]) -> Packages:
    asked = {source: arguments.get(source) or [] for source in SOURCES}
    count = sum(map(len, asked.values()))
    if not 1 <= count <= PACKAGES_AT_MOST:
        flags = ", ".join(map(flag_of, SOURCES))
        raise InvalidArguments(f"give 1 to {PACKAGES_AT_MOST} packages with {flags}; {count} are given")
    return Packages(**asked)


def _require(names: Sequence[str], present: Sequence[str] | Mapping[str, Any], what: str) -> None:
    for name in names:
        if name not in present:
            there = ", ".join(present) or "none"
            raise InvalidArguments(f"there is no {what} {name!r} in the config; there are: {there}")


def _joined(present: Sequence[str], more: Sequence[str]) -> list[str]:
    return list(dict.fromkeys((*present, *more)))


def _without(present: Sequence[str], gone: Sequence[str]) -> list[str]:
    return [name for name in present if name not in gone]


def _split(text: Any) -> Sequence[Any]:
    return text.split(",") if isinstance(text, str) else [text]
