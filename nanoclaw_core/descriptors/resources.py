"""Nouns: tables as `ncl` shows and changes them. A resource registry makes their verbs; nothing here runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from nanoclaw_core.descriptors.names import check_name
from nanoclaw_core.descriptors.votes import Access

READ: Mapping[str, Access] = {"list": Access.ALLOWED, "get": Access.ALLOWED}
"""The operations of a noun that is only looked at."""
WRITE: Mapping[str, Access] = {
    "create": Access.NEEDS_APPROVAL,
    "update": Access.NEEDS_APPROVAL,
    "delete": Access.NEEDS_APPROVAL,
}
"""The operations that change something; an agent's wait for a human."""


@frozen(kw_only=True)
class Column:
    """One column of a resource's table.

    Args:
        kind: What its values are: str, int, float, bool; dict or list where it holds JSON, which is only shown.
        choices: The only texts that are allowed; empty allows all.
        default: What `create` writes where nothing is given; None leaves it to the table.
        generate: Makes the value at `create`; such a column cannot be given.
        is_required: True where `create` needs it.
        is_updatable: True where `update` may change it.
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
    """A noun over one table: `ncl <name> list|get|create|update|delete`.

    Args:
        name: The plural that people type: `messaging-groups`.
        table: The table. Only columns that are named here are ever read or written.
        key: The columns that identify a row, in the order in which they are typed.
        operations: Which of list, get, create, update and delete there are, and what the guard needs to know of each.
        scope_column: The column that holds the owning agent group; without one it is invisible to group scope.
        check: Raises InvalidArguments where values do not fit together; gets the whole row as it would be.
        owns: Tables whose rows are part of a row and go with it, as the tables say.
        display: The columns that `list` shows where nobody names others; empty shows all.
        cascades: True where `delete --cascade` may take what refers to a row along, as the tables say.
    """

    name: str = field(validator=check_name)
    table: str
    columns: Sequence[Column]
    key: Sequence[str] = ("id",)
    operations: Mapping[str, Access] = field(factory=lambda: READ)
    scope_column: str | None = None
    check: Callable[[Mapping[str, Any]], None] = field(default=lambda _row: None, repr=False)
    cascades: bool = False
    owns: Sequence[str] = ()
    display: Sequence[str] = ()
    help: str = ""
