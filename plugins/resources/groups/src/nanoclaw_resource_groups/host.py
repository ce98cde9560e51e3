"""The resource `groups`: agent groups.

Without this plugin: existing agents keep working, but `ncl` cannot list, create, rename or delete them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nanoclaw_core import READ, WRITE, Access, Caller, Column, Parameter, PluginContext, Resource, Verb, hookimpl
from nanoclaw_resource_groups import rows
from nanoclaw_resource_groups.names import check_name, folder_for

COLUMNS = (
    Column(name="id", help="the agent group, ag-…"),
    Column(name="name", is_updatable=True, help="the name of the agent"),
    Column(name="folder", help="the directory under groups/; it never changes and outlives the agent"),
    Column(name="created_at"),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Contribute the resource."""
    yield Resource(
        name="groups",
        table="agent_groups",
        columns=COLUMNS,
        operations={**READ, "update": WRITE["update"], "delete": WRITE["delete"]},
        scope_column="id",
        check=lambda row: check_name(row["name"]),
        cascades=True,
        owns=("container_configs", "destinations", "accepted_messages"),
        help="agent groups; each is an agent with its folder",
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Contribute `groups create`, which also creates files."""
    yield Verb(
        resource="groups",
        name="create",
        access=Access.NEEDS_APPROVAL,
        run=_create,
        check=_check,
        preview=_preview,
        parameters=(
            Parameter(name="name", is_required=True, is_positional=True, help="the name of the agent"),
            Parameter(name="folder", help="the directory under groups/", default="derived from the name"),
        ),
        help="create an agent group with its folder, instructions file and config",
    )


def _check(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> None:
    check_name(arguments["name"])
    _folder(arguments)


def _preview(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> dict[str, Any]:
    return {"group": {"before": None, "after": {"name": arguments["name"].strip(), "folder": _folder(arguments)}}}


async def _create(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    group_id = context.operations.create_agent_group(arguments["name"].strip(), _folder(arguments))
    return rows.read(context.database, group_id, [column.name for column in COLUMNS])


def _folder(arguments: Mapping[str, Any]) -> str:
    return arguments.get("folder") or folder_for(arguments["name"])
