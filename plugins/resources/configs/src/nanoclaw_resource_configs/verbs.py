"""The verbs `ncl groups config …`: their parameters and their common function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nanoclaw_core import Access, Caller, ContainerConfig, Forbidden, InvalidArguments, Parameter, PluginContext, Verb
from nanoclaw_resource_configs import changes, effects, rows

Change = Callable[[ContainerConfig, Mapping[str, Any]], ContainerConfig]
Resolve = Callable[[Mapping[str, Any], PluginContext], Mapping[str, Any]]

GROUP = Parameter(name="id", is_positional=True, is_required=True, help="the agent group, ag-…")
REVEAL = Parameter(name="reveal", kind=bool, help="also show the secrets of MCP servers; only the operator may")
NAME = Parameter(name="name", is_required=True, help="the name of the server or mount")
UPDATE = (
    Parameter(name="provider", help="the program that runs the model loop: claude, mock, …"),
    Parameter(name="model", help="an alias or a full name that the provider knows"),
    Parameter(name="effort", help="how long the model may think", choices=changes.EFFORTS),
    Parameter(name="image_tag", help="the image of the sandboxes; `groups restart --rebuild` sets it"),
    Parameter(name="assistant_name", help="the name that the agent uses for itself"),
    Parameter(name="max_messages_per_prompt", kind=int, help="the maximum number of messages in one prompt"),
    Parameter(name="network", help="the network of a sandbox; gateway has the model alone", choices=changes.NETWORKS),
    Parameter(name="runtime", help="the runtime of the sandboxes: docker, process, …"),
    Parameter(name="memory_mb", kind=int, help="the memory of a sandbox, in MiB"),
    Parameter(name="cpus", kind=float, help="the number of processors that a sandbox may use"),
    Parameter(name="pids", kind=int, help="the maximum number of processes in a sandbox"),
    Parameter(name="cli_scope", help="the reach of the agent's own ncl", choices=changes.CLI_SCOPES),
)
SERVER = (
    NAME,
    Parameter(name="command", is_required=True, help="the program, which starts in the home directory of the sandbox"),
    Parameter(name="args", help="the arguments, a JSON array of strings"),
    Parameter(name="env", help="the environment, a JSON object of strings"),
    Parameter(name="instructions", help="instructions for the agent on using it"),
)
PACKAGES = (
    Parameter(name="apt", kind=list, help="a Debian package; may be repeated"),
    Parameter(name="npm", kind=list, help="an npm package; may be repeated"),
    Parameter(name="pip", kind=list, help="a Python package; may be repeated"),
)
MOUNT = (
    Parameter(name="path", is_required=True, help="a directory of the host under core.allowed_mounts"),
    Parameter(name="name", help="the name in the sandbox", default="the name of the directory"),
    Parameter(name="writable", kind=bool, help="let the agent write to it, if the operator allows that"),
)
SKILLS = (Parameter(name="skills", kind=list, is_required=True, help="all, none, or names separated by commas"),)


def config_verbs() -> Iterator[Verb]:
    """Contribute the config verbs."""
    get = partial(Verb, resource="groups", name="config get", access=Access.ALLOWED, run=_get, scope_parameter="id")
    yield get(parameters=(GROUP, REVEAL), help="show the sandbox configuration of an agent group")
    update = "change the sandbox configuration; --model=null resets a setting"
    yield _changing("update", changes.update, UPDATE, update, _require_installed)
    yield _changing("add-mcp-server", changes.add_mcp_server, SERVER, "add or replace an MCP server")
    yield _changing("remove-mcp-server", changes.remove_mcp_server, (NAME,), "remove an MCP server")
    yield _changing("add-package", changes.add_packages, PACKAGES, "add packages to the agent's own image")
    yield _changing("remove-package", changes.remove_packages, PACKAGES, "remove packages from the agent's own image")
    yield _changing(
        "add-mount", changes.add_mount, MOUNT, "mount a directory of the host in the sandboxes", _resolve_mount
    )
    yield _changing("remove-mount", changes.remove_mount, (NAME,), "remove a mounted directory")
    yield _changing("set-skills", changes.set_skills, SKILLS, "choose the agent's skills")


async def _get(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
    config = rows.read(context.database, arguments["id"])
    secrets = {"mcp_servers": config.mcp_servers} if arguments.get("reveal") else {}
    if secrets and not caller.operator:
        raise Forbidden("--reveal: only the operator may see the secrets of MCP servers. Omit --reveal")
    return rows.shown(config) | secrets | {"left_to": effects.left_to(config)}


def _changing(
    name: str,
    change: Change,
    parameters: Sequence[Parameter],
    help_text: str,
    resolve: Resolve = lambda arguments, _context: arguments,
) -> Verb:
    """Return a verb that changes a config.

    Args:
        name: The name after `config`.
        change: Returns the changed config.
        parameters: The parameters of the change, without the agent group.
        help_text: One line for the help.
        resolve: Adds facts of the host to the arguments. For an agent it runs only after a human approved, because
            its errors would let an agent probe for files of the host.
    """

    def check(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        resolved = resolve(arguments, context) if caller.operator else arguments
        change(rows.read(context.database, arguments["id"]), resolved)

    def preview(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
        before = rows.read(context.database, arguments["id"])
        after = change(before, resolve(arguments, context))
        return effects.changed(before, after) | {"takes_effect": effects.takes_effect(before, after)}

    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        resolved = resolve(arguments, context)
        before, after = rows.change(context.database, arguments["id"], lambda config: change(config, resolved))
        shown = rows.shown(after)
        if not caller.operator:  # the answer becomes a note in the conversation
            differing = [name for name in shown if getattr(before, name) != getattr(after, name)]
            shown = {name: shown[name] for name in ("agent_group_id", *differing)}
        return shown | {"takes_effect": effects.takes_effect(before, after)}

    return Verb(
        resource="groups",
        name=f"config {name}",
        access=Access.NEEDS_APPROVAL,
        run=run,
        check=check,
        preview=preview,
        parameters=(GROUP, *parameters),
        help=help_text,
        scope_parameter="id",
    )


def _require_installed(arguments: Mapping[str, Any], context: PluginContext) -> Mapping[str, Any]:
    """Return the arguments if their provider and runtime are installed.

    With a missing one the agent cannot answer.
    """
    for kind, names in context.operations.installed().items():
        chosen = arguments.get(kind)
        if chosen is not None and chosen not in names:
            known = ", ".join(names) or "none"
            raise InvalidArguments(f"--{kind} must be an installed {kind}, got {chosen!r}. Installed: {known}")
    return arguments


def _resolve_mount(arguments: Mapping[str, Any], context: PluginContext) -> Mapping[str, Any]:
    """Return the arguments with a resolved path.

    A human approves the directory, not a link to it.
    """
    resolved = changes.resolved_mount(arguments, context.operations.check_mount)
    if arguments.get("writable") and not resolved["writable"]:
        raise InvalidArguments(
            f"--writable: nanoclaw.toml allows {arguments['path']} only for reading. Omit --writable"
        )
    return resolved
