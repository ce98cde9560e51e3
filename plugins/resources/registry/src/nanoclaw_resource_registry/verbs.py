"""Generates the verbs of one resource.

Derives their typed parameters from its columns.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import apsw
from attrs import evolve, frozen

from nanoclaw_core import (
    Caller,
    Column,
    Forbidden,
    InvalidArguments,
    NanoclawError,
    NotFound,
    Parameter,
    PluginContext,
    Resource,
    Verb,
    flag_of,
)
from nanoclaw_resource_registry import rows, statements
from nanoclaw_resource_registry.references import references_to
from nanoclaw_resource_registry.statements import quoted

MAX_LIST_CHARACTERS = 1_000_000  # of the values in an answer, because the host holds all of it in memory
Run = Callable[[Mapping[str, Any], Caller, PluginContext], Awaitable[Any]]
Check = Callable[[Mapping[str, Any], Caller, PluginContext], None]
Preview = Callable[[Mapping[str, Any], Caller, PluginContext], Any]
JSON_KINDS = (dict, list)  # columns of these kinds cannot be filtered; answers show them decoded


class StillReferenced(NanoclawError):
    """Other rows still refer to a row. Nothing was deleted."""

    code = "forbidden"


@frozen(kw_only=True)
class _Operation:
    """A generated verb without its name.

    Args:
        parameters: Its parameters.
        run: Executes it.
        help: One line for the help.
        check: Validates the arguments before an approval is requested.
        preview: Returns what it would change.
        filters_by_scope: True if it finds only rows within the caller's scope.
    """

    parameters: Sequence[Parameter]
    run: Run
    help: str
    check: Check = lambda *_: None
    preview: Preview = lambda *_: None
    filters_by_scope: bool = True


def verbs_of(resource: Resource) -> Iterator[Verb]:
    """Yield the verbs that a resource declares."""
    factories = {"list": _list, "get": _get, "create": _create, "update": _update, "delete": _delete}
    for name, access in resource.operations.items():
        operation = factories[name](resource)
        yield Verb(
            resource=resource.name,
            name=name,
            access=access,
            run=operation.run,
            check=operation.check,
            preview=operation.preview,
            parameters=operation.parameters,
            help=operation.help,
            scope_parameter=resource.scope_column,
            filters_by_scope=operation.filters_by_scope and resource.scope_column is not None,
        )


def _list(resource: Resource) -> _Operation:
    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> list[dict[str, Any]]:
        statement = statements.select_list(resource, {**arguments, **_scope_filter(resource, caller)})
        columns = [statements.column_of(resource, name) for name in statements.listed(resource, arguments)]
        listed, size = [], 0
        for values in context.database.execute(statement.sql, statement.values):
            size += sum(len(str(value)) for value in values)
            _require_short(resource, size)
            listed.append(values)
        if len(listed) == statements.limit_of(arguments):
            caller.progress(f"showing the first {len(listed)} rows; use --limit and --offset for more")
        shown = rows.shown(columns, listed)
        if resource.present is None:
            return shown
        presented, size = [], 0
        for row in shown:
            presented.append(dict(resource.present(row, caller, context)))
            size += len(json.dumps(presented[-1], ensure_ascii=False))  # it may show more than the row
            _require_short(resource, size)
            await asyncio.sleep(0)  # others get the event loop between two rows
        return presented

    def check(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> None:
        rows.check_choices(resource, arguments)

    filters = [_parameter(column) for column in resource.columns if column.kind not in JSON_KINDS]
    paging = [
        Parameter(name="limit", kind=int, help="the maximum number of rows", default=str(statements.DEFAULT_LIMIT)),
        Parameter(name="offset", kind=int, help="the number of rows to skip"),
        Parameter(name="columns", kind=list, help=_columns_help(resource)),
        Parameter(name="sort", help="the column to sort by; a leading - reverses the order"),
    ]
    help_text = f"list {resource.name}; every column is also a filter"
    return _Operation(parameters=[*filters, *paging], run=run, check=check, help=help_text)


def _require_short(resource: Resource, size: int) -> None:
    """Require that a list is short, while it is built."""
    if size > MAX_LIST_CHARACTERS:
        fault = f"{resource.name} list: the values have more than {MAX_LIST_CHARACTERS} characters"
        raise InvalidArguments(f"{fault}. Ask for fewer --columns or a smaller --limit")


def _get(resource: Resource) -> _Operation:
    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        row = _row(context.database, resource, rows.key_of(resource, arguments), caller)
        return row if resource.present is None else dict(resource.present(row, caller, context))

    return _Operation(parameters=_key_parameters(resource), run=run, help=f"show one {_singular(resource)}")


def _create(resource: Resource) -> _Operation:
    def check(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> None:
        row = rows.new_row(resource, arguments)
        statements.insert(resource, row)  # raises if a value cannot be stored
        _require_references(context.database, resource, row)

    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        row = rows.new_row(resource, arguments)
        statement = statements.insert(resource, row)
        _change(context.database, resource, statement)
        return _row(context.database, resource, rows.key_of(resource, row), caller)

    def preview(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> dict[str, Any]:
        generated = {column.name for column in resource.columns if column.generate is not None}
        row = rows.new_row(resource, arguments)
        return _changes({}, {name: value for name, value in row.items() if name not in generated})

    given = [column for column in resource.columns if column.generate is None and column.kind not in JSON_KINDS]
    parameters = [_with_default(column, _parameter(column, is_required=column.is_required)) for column in given]
    help_text = f"create a new {_singular(resource)}"
    return _Operation(
        parameters=parameters, run=run, check=check, preview=preview, help=help_text, filters_by_scope=False
    )


def _update(resource: Resource) -> _Operation:
    def check(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        key, changes = rows.key_of(resource, arguments), rows.changes_of(resource, arguments)
        resource.check(_row(context.database, resource, key, caller) | changes)
        statements.update(resource, key, changes)  # raises if a value cannot be stored

    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        key, changes = rows.key_of(resource, arguments), rows.changes_of(resource, arguments)
        _change(context.database, resource, statements.update(resource, key, changes))
        return _row(context.database, resource, key | {name: changes[name] for name in key if name in changes}, caller)

    def preview(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        row = _row(context.database, resource, rows.key_of(resource, arguments), caller)
        return _changes(row, row | rows.changes_of(resource, arguments))

    updatable = [_parameter(column) for column in resource.columns if column.is_updatable]
    parameters = [*_key_parameters(resource), *updatable]
    help_text = f"change one {_singular(resource)}; the value null clears a column"
    return _Operation(parameters=parameters, run=run, check=check, preview=preview, help=help_text)


def _delete(resource: Resource) -> _Operation:
    def check(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        row = _row(context.database, resource, rows.key_of(resource, arguments), caller)
        _require_unreferenced(context.database, resource, row, may_cascade=bool(arguments.get("cascade")))

    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        key = rows.key_of(resource, arguments)
        row = _row(context.database, resource, key, caller)
        _change(context.database, resource, statements.delete(resource, key))
        return {"deleted": row}

    def preview(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        row = _row(context.database, resource, rows.key_of(resource, arguments), caller)
        others = {item.table: item.count for item in references_to(context.database, resource.table, row)}
        return _changes(row, {}) | ({"rows that refer to it": others} if others else {})

    cascade = (
        [Parameter(name="cascade", kind=bool, help="also delete the rows that refer to it")]
        if resource.cascades
        else []
    )
    help_text = f"delete one {_singular(resource)}"
    parameters = [*_key_parameters(resource), *cascade]
    return _Operation(parameters=parameters, run=run, check=check, preview=preview, help=help_text)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that differ, each with its value before and after; None if there is none."""
    pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
    return {name: {"before": old, "after": new} for name, (old, new) in pairs.items() if old != new}


def _singular(resource: Resource) -> str:
    """Return the name of one row of a resource, such as `delivery` for `deliveries`."""
    name = resource.name.replace("-", " ")
    if name.endswith("ies"):
        return f"{name.removesuffix('ies')}y"
    return name.removesuffix("es") if name.endswith(("sses", "xes", "ches", "shes")) else name.removesuffix("s")


def _columns_help(resource: Resource) -> str:
    default = f" (default {', '.join(resource.display)})" if resource.display else ""
    return f"the columns to show, separated by commas, or `all`{default}"


def _scope_filter(resource: Resource, caller: Caller) -> dict[str, Any]:
    """Return the filter for the caller's own rows.

    As part of the query it hides even the existence of other rows.
    """
    if caller.scope_group_id is None:
        return {}
    if resource.scope_column is None:
        raise Forbidden(
            f"{resource.name}: an agent of scope `group` cannot use this resource, which belongs to no agent group"
        )
    return {resource.scope_column: caller.scope_group_id}


def _row(db: apsw.Connection, resource: Resource, key: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    statement = statements.select_one(resource, {**key, **_scope_filter(resource, caller)})
    matching = rows.shown(resource.columns, db.execute(statement.sql, statement.values).fetchall())
    if not matching:
        remedy = f"`ncl {resource.name} list` shows them"
        raise NotFound(f"{resource.name}: none has the {_key_text(key)}. {remedy}")
    return matching[0]


def _change(db: apsw.Connection, resource: Resource, statement: statements.Statement) -> None:
    """Run a statement that changes a table.

    Report a violated constraint in plain words.

    Raises:
        InvalidArguments: The change violates a constraint of the table. Nothing was changed.
    """
    try:
        with db:
            db.execute(statement.sql, statement.values)
    except apsw.ConstraintError as error:
        raise InvalidArguments(f"{resource.name}: {_constraint_message(str(error))}") from error


def _require_references(db: apsw.Connection, resource: Resource, row: Mapping[str, Any]) -> None:
    """Require that every row that a new row refers to exists.

    The error of SQLite would not name the missing one.
    """
    query = 'SELECT "from", "table", coalesce("to", \'id\') FROM pragma_foreign_key_list(?)'
    for column, table, target in db.execute(query, (resource.table,)).fetchall():
        value = row.get(column)
        exists = f"SELECT 1 FROM {quoted(table)} WHERE {quoted(target)} = ?"
        if value is not None and db.execute(exists, (value,)).fetchone() is None:
            raise InvalidArguments(f"{resource.name}: {flag_of(column)} must name a row of {table}, got {value!r}")


def _constraint_message(text: str) -> str:
    kind, _, detail = text.partition(" constraint failed")
    columns = ", ".join(part.rpartition(".")[2] for part in detail.removeprefix(": ").split(", "))
    messages = {
        "UNIQUE": f"another row has the same {columns}",
        "NOT NULL": f"{flag_of(columns)} must not be empty",
        "FOREIGN KEY": "a value refers to a row that does not exist",
        "CHECK": f"the values violate a rule of the table: {columns}",
    }
    return messages.get(kind, text)


def _require_unreferenced(
    db: apsw.Connection, resource: Resource, row: Mapping[str, Any], *, may_cascade: bool
) -> None:
    references = references_to(db, resource.table, row)
    blocking = [
        reference
        for reference in references
        if not (reference.cascades and (may_cascade or reference.table in resource.owns))
    ]
    if not blocking:
        return
    counts = ", ".join(f"{reference.count} in {reference.table}" for reference in blocking)
    can_cascade = resource.cascades and all(reference.cascades for reference in blocking)
    remedy = "Add --cascade to delete them too" if can_cascade else "Delete those rows first"
    key = _key_text(rows.key_of(resource, row))
    raise StillReferenced(f"{resource.name}: other rows still refer to the {key}: {counts}. {remedy}")


def _key_parameters(resource: Resource) -> list[Parameter]:
    columns = [statements.column_of(resource, name) for name in resource.key]
    return [_parameter(column, is_required=True, is_positional=True) for column in columns]


def _parameter(column: Column, *, is_required: bool = False, is_positional: bool = False) -> Parameter:
    return Parameter(
        name=column.name,
        kind=column.kind,
        is_required=is_required,
        is_positional=is_positional,
        help=column.help,
        choices=column.choices,
    )


def _with_default(column: Column, parameter: Parameter) -> Parameter:
    if column.default is None:
        return parameter
    default = json.dumps(column.default) if isinstance(column.default, bool) else column.default
    return evolve(parameter, default=str(default))


def _key_text(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in key.items())
