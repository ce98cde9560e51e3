"""The verbs `ncl groups config …`: what each takes, and the one way in which all of them change a config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nanoclaw_core import Access, Caller, ContainerConfig, InvalidArguments, Parameter, PluginContext, Verb
from nanoclaw_resource_configs import changes, effects, rows

Change = Callable[[ContainerConfig, Mapping[str, Any]], ContainerConfig]
Resolve = Callable[[Mapping[str, Any], PluginContext], Mapping[str, Any]]

GROUP = Parameter(name="id", is_positional=True, is_required=True, help="the agent group, ag-…")
NAME = Parameter(name="name", is_required=True, help="what it is called")
UPDATE = (
    Parameter(name="provider", help="what runs the model loop: claude, mock, …"),
    Parameter(name="model", help="an alias or a full name; the provider knows them"),
    Parameter(name="effort", help="low, medium, high, xhigh or max"),
    Parameter(name="image_tag", help="the image of the sandboxes; --rebuild writes it"),
    Parameter(name="assistant_name", help="what the agent calls itself"),
    Parameter(name="max_messages_per_prompt", kind=int, help="how many messages one prompt takes at most"),
    Parameter(name="network", help="gateway (the model alone), open or none"),
    Parameter(name="runtime", help="what makes the sandboxes: docker, process, …"),
    Parameter(name="memory_mb", kind=int, help="memory of a sandbox, in units of 2^20 bytes"),
    Parameter(name="cpus", kind=float, help="how many processors' time a sandbox may use"),
    Parameter(name="pids", kind=int, help="how many processes a sandbox may have"),
    Parameter(name="cli_scope", help="what the agent's own ncl reaches: disabled, group or global"),
)
SERVER = (
    NAME,
    Parameter(name="command", is_required=True, help="the program, started in the sandbox"),
    Parameter(name="args", help="its arguments, a JSON array of texts"),
    Parameter(name="env", help="its environment, a JSON object of texts"),
    Parameter(name="instructions", help="what the agent should know of it"),
)
PACKAGES = (
    Parameter(name="apt", kind=list, help="a Debian package; may be repeated"),
    Parameter(name="npm", kind=list, help="an npm package; may be repeated"),
    Parameter(name="pip", kind=list, help="a Python package; may be repeated"),
)
MOUNT = (
    Parameter(name="path", is_required=True, help="a directory of the host, below core.allowed_mounts"),
    Parameter(name="name", help="what it is called in the sandbox; its own name where nothing is said"),
    Parameter(name="writable", kind=bool, help="the agent may write there, where the operator allows that"),
)
SKILLS = (Parameter(name="skills", kind=list, is_required=True, help="all, none, or names with commas between"),)


def config_verbs() -> Iterator[Verb]:
    """Offer all of them."""
    get = partial(Verb, resource="groups", name="config get", access=Access.OPEN, run=_get, scope_parameter="id")
    yield get(parameters=(GROUP,), help="show how the sandboxes of an agent group are made")
    update = "choose how sandboxes are made; --model=null leaves it open"
    yield _changing("update", changes.update, UPDATE, update, _insist_on_installed)
    yield _changing("add-mcp-server", changes.add_mcp_server, SERVER, "add an MCP server, or replace one")
    yield _changing("remove-mcp-server", changes.remove_mcp_server, (NAME,), "remove an MCP server")
    yield _changing("add-package", changes.add_packages, PACKAGES, "have packages installed in the agent's own image")
    yield _changing("remove-package", changes.remove_packages, PACKAGES, "leave packages out of the agent's own image")
    yield _changing("add-mount", changes.add_mount, MOUNT, "give the agent a directory of the host", _resolve_mount)
    yield _changing("remove-mount", changes.remove_mount, (NAME,), "take a directory of the host away")
    yield _changing("set-skills", changes.set_skills, SKILLS, "choose the agent's skills")


async def _get(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    config = rows.read(context.database, arguments["id"])
    return rows.shown(config) | {"left_to": effects.left_to(config)}


def _changing(
    name: str,
    change: Change,
    parameters: Sequence[Parameter],
    told: str,
    resolve: Resolve = lambda arguments, _context: arguments,
) -> Verb:
    """Make a verb that changes a config.

    Args:
        resolve: Looks at the host for what the change needs. An agent does not hear what it finds before a human said
            yes: it would be a way to feel for files.
    """

    def check(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        found = resolve(arguments, context) if caller.operator else arguments
        change(rows.read(context.database, arguments["id"]), found)

    async def run(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
        found = resolve(arguments, context)
        before, after = rows.change(context.database, arguments["id"], lambda config: change(config, found))
        return rows.shown(after) | {"takes_effect": effects.takes_effect(before, after)}

    return Verb(
        resource="groups",
        name=f"config {name}",
        access=Access.HOLD,
        run=run,
        check=check,
        parameters=(GROUP, *parameters),
        help=told,
        scope_parameter="id",
    )


def _insist_on_installed(arguments: Mapping[str, Any], context: PluginContext) -> Mapping[str, Any]:
    """Return the arguments; a provider or a runtime that is not there would leave people without answers."""
    for kind, names in context.operations.installed().items():
        chosen = arguments.get(kind)
        if chosen is not None and chosen not in names:
            known = ", ".join(names) or "none"
            raise InvalidArguments(f"--{kind}: there is no {kind} {chosen!r} here; installed are: {known}")
    return arguments


def _resolve_mount(arguments: Mapping[str, Any], context: PluginContext) -> Mapping[str, Any]:
    """Return the arguments with the directory that the path leads to: that one is approved, not a link to it."""
    found = changes.resolved_mount(arguments, context.operations.check_mount)
    if arguments.get("writable") and not found["writable"]:
        raise InvalidArguments(f"{arguments['path']} is allowed for reading alone; leave --writable out")
    return found
