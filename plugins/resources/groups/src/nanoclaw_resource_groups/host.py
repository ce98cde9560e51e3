"""Agent groups, as a noun: `ncl groups`.

Without this plugin: the agents that exist work as ever; nobody can list, make, rename or remove them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nanoclaw_core import READ, WRITE, Access, Caller, Column, Parameter, PluginContext, Resource, Verb, hookimpl
from nanoclaw_resource_groups import rows
from nanoclaw_resource_groups.names import check_name, folder_for

COLUMNS = (
    Column(name="id", help="the agent group, ag-…"),
    Column(name="name", is_updatable=True, help="what people call the agent"),
    Column(name="folder", help="its directory below groups/; never changes, and stays when the agent is removed"),
    Column(name="created_at"),
)


@hookimpl
def nanoclaw_resources() -> Iterator[Resource]:
    """Offer the noun."""
    yield Resource(
        name="groups",
        table="agent_groups",
        columns=COLUMNS,
        operations={**READ, "update": WRITE["update"], "delete": WRITE["delete"]},
        scope_column="id",
        check=lambda row: check_name(row["name"]),
        cascades=True,
        owns=("container_configs", "destinations", "accepted_messages"),
        help="agent groups: an agent each, with its folder",
    )


@hookimpl
def nanoclaw_verbs() -> Iterator[Verb]:
    """Offer what makes one; it is more than a row."""
    yield Verb(
        resource="groups",
        name="create",
        access=Access.HOLD,
        run=_create,
        check=_check,
        parameters=(
            Parameter(name="name", is_required=True, is_positional=True, help="what people call the agent"),
            Parameter(name="folder", help="its directory below groups/; made of the name where nothing is said"),
        ),
        help="make an agent group with its folder, instructions file and config, or nothing",
    )


def _check(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> None:
    check_name(arguments["name"])
    _folder(arguments)


async def _create(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> dict[str, Any]:
    made = context.operations.create_agent_group(arguments["name"].strip(), _folder(arguments))
    return rows.read(context.database, made, [column.name for column in COLUMNS])


def _folder(arguments: Mapping[str, Any]) -> str:
    return arguments.get("folder") or folder_for(arguments["name"])
