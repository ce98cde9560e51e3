"""Resources: tables that `ncl` shows and changes.

A resource registry generates their verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.names import check_name
from nanoclaw_core.descriptors.votes import Access, Caller

READ: Mapping[str, Access] = {"list": Access.ALLOWED, "get": Access.ALLOWED}
"""The operations of a read-only resource."""
WRITE: Mapping[str, Access] = {
    "create": Access.NEEDS_APPROVAL,
    "update": Access.NEEDS_APPROVAL,
    "delete": Access.NEEDS_APPROVAL,
}
"""The operations that change rows; an agent's request waits for a human."""


@frozen(kw_only=True)
class Column:
    """One column of a resource's table.

    Args:
        kind: The type of its values: str, int, float or bool; dict or list for JSON, which is only shown.
        choices: The allowed strings; empty allows all.
        default: The value that `create` writes if none is given; None leaves it to the table.
        generate: Makes the value at `create`; a caller cannot give the column.
        is_required: True if `create` needs it.
        is_updatable: True if `update` may change it.
    """

    name: str
    kind: type = str
    help: str = ""
    choices: Sequence[str] = ()
    default: Any = None
    generate: Callable[[], Any] | None = field(default=None, repr=False)
    is_required: bool = False
    is_updatable: bool = False


@frozen(kw_only=True)
class Resource:
    """A resource over one table: `ncl <name> list|get|create|update|delete`.

    Args:
        name: The plural that people type: `messaging-groups`.
        table: The table. Only the columns of this resource are read or written.
        key: The columns that identify a row, in the order in which they are typed.
        operations: The available ones of list, get, create, update and delete, each with the access of agents.
        scope_column: The column of the owning agent group. Without it, agents of group scope cannot see the resource.
        check: Raises InvalidArguments if the values do not fit together. It gets the complete new row.
        owns: Tables with rows that are deleted with a row by their foreign keys.
        display: The columns that `list` shows by default; empty shows all.
        present: `present(row, caller, context)` returns a row as `list` and `get` show it to a caller. A list may
            lack columns. None shows rows as they are.
        cascades: True if `delete --cascade` may delete the rows that refer to a row by their foreign keys.
    """

    name: str = field(validator=check_name)
    table: str
    columns: Sequence[Column]
    key: Sequence[str] = ("id",)
    operations: Mapping[str, Access] = field(factory=lambda: READ)
    scope_column: str | None = None
    check: Callable[[Mapping[str, Any]], None] = field(default=lambda _row: None, repr=False)
    present: Callable[[Mapping[str, Any], Caller, PluginContext], Mapping[str, Any]] | None = None
    cascades: bool = False
    owns: Sequence[str] = ()
    display: Sequence[str] = ()
    help: str = ""
