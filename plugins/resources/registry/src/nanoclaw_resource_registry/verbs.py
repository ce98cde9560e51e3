"""The verbs of one noun: typed parameters out of its columns, and what each verb does."""

from __future__ import annotations

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

Run = Callable[[Mapping[str, Any], Caller, PluginContext], Awaitable[Any]]
Check = Callable[[Mapping[str, Any], Caller, PluginContext], None]
JSON_KINDS = (dict, list)  # such columns are no filters, and shown decoded


class Referred(NanoclawError):
    """A row is still referred to; nothing was removed."""

    code = "forbidden"


@frozen(kw_only=True)
class _Made:
    """One verb of a noun, but for its name.

    Args:
        limits_itself: True where it finds only what a limited caller may see.
    """

    parameters: Sequence[Parameter]
    run: Run
    help: str
    check: Check = lambda *_: None
    limits_itself: bool = True


def verbs_of(resource: Resource) -> Iterator[Verb]:
    """Make the verbs that a noun declares."""
    makers = {"list": _list, "get": _get, "create": _create, "update": _update, "delete": _delete}
    for name, access in resource.operations.items():
        made = makers[name](resource)
        yield Verb(
            resource=resource.name,
            name=name,
            access=access,
            run=made.run,
            check=made.check,
            parameters=made.parameters,
            help=made.help,
            scope_parameter=resource.scope_column,
            limits_itself=made.limits_itself and resource.scope_column is not None,
        )


def _list(resource: Resource) -> _Made:
    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> list[dict[str, Any]]:
        statement = statements.select_list(resource, {**arguments, **_limit_of(resource, caller)})
        shown = [statements.column_of(resource, name) for name in statements.listed(resource, arguments)]
        found = context.database.execute(statement.sql, statement.values).fetchall()
        if len(found) == statements.limit_of(arguments):
            caller.tell(f"these are the first {len(found)}; --limit and --offset show more, where there is more")
        return rows.shown(shown, found)

    def check(arguments: Mapping[str, Any], _caller: Caller, _context: PluginContext) -> None:
        rows.check_choices(resource, arguments)

    filters = [_parameter(column) for column in resource.columns if column.kind not in JSON_KINDS]
    paging = [
        Parameter(name="limit", kind=int, help=f"at most so many rows, {statements.LIMIT} where nothing is said"),
        Parameter(name="offset", kind=int, help="leave out so many rows first"),
        Parameter(name="columns", kind=list, help=_columns_help(resource)),
        Parameter(name="sort", help="a column, with - in front for the highest first"),
    ]
    told = f"list {resource.name}; every column is also a filter"
    return _Made(parameters=[*filters, *paging], run=run, check=check, help=told)


def _get(resource: Resource) -> _Made:
    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        return _row(context.database, resource, rows.key_of(resource, arguments), caller)

    return _Made(parameters=_key_parameters(resource), run=run, help=f"show one of the {resource.name}")


def _create(resource: Resource) -> _Made:
    def check(arguments: Mapping[str, Any], _caller: Caller, context: PluginContext) -> None:
        row = rows.new_row(resource, arguments)
        statements.insert(resource, row)  # refuses what cannot be bound
        _refuse_nobody(context.database, resource, row)

    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        row = rows.new_row(resource, arguments)
        statement = statements.insert(resource, row)
        _change(context.database, resource, statement)
        return _row(context.database, resource, rows.key_of(resource, row), caller)

    given = [column for column in resource.columns if column.generate is None and column.kind not in JSON_KINDS]
    parameters = [_with_default(column, _parameter(column, is_required=column.is_required)) for column in given]
    told = f"make one of the {resource.name}"
    return _Made(parameters=parameters, run=run, check=check, help=told, limits_itself=False)


def _update(resource: Resource) -> _Made:
    def check(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        key, changes = rows.key_of(resource, arguments), rows.changes_of(resource, arguments)
        resource.check(_row(context.database, resource, key, caller) | changes)
        statements.update(resource, key, changes)  # refuses what cannot be bound

    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        key, changes = rows.key_of(resource, arguments), rows.changes_of(resource, arguments)
        _change(context.database, resource, statements.update(resource, key, changes))
        return _row(context.database, resource, key | {name: changes[name] for name in key if name in changes}, caller)

    updatable = [_parameter(column) for column in resource.columns if column.is_updatable]
    told = f"change one of the {resource.name}; =null as a value leaves it empty"
    return _Made(parameters=[*_key_parameters(resource), *updatable], run=run, check=check, help=told)


def _delete(resource: Resource) -> _Made:
    def check(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> None:
        row = _row(context.database, resource, rows.key_of(resource, arguments), caller)
        _refuse_referred(context.database, resource, row, may_cascade=bool(arguments.get("cascade")))

    async def run(arguments: Mapping[str, Any], caller: Caller, context: PluginContext) -> dict[str, Any]:
        key = rows.key_of(resource, arguments)
        row = _row(context.database, resource, key, caller)
        _change(context.database, resource, statements.delete(resource, key))
        return {"deleted": row}

    cascade = [Parameter(name="cascade", kind=bool, help="take along what refers to it")] if resource.cascades else []
    told = f"remove one of the {resource.name}"
    return _Made(parameters=[*_key_parameters(resource), *cascade], run=run, check=check, help=told)


def _columns_help(resource: Resource) -> str:
    usual = f"; {', '.join(resource.display)} where nothing is said" if resource.display else ""
    return f"which columns, with commas between, or `all`{usual}"


def _limit_of(resource: Resource, caller: Caller) -> dict[str, Any]:
    """Return the filter that keeps a limited caller to its own rows: in the query itself, so nothing else is told."""
    if caller.limited_to is None:
        return {}
    if resource.scope_column is None:
        raise Forbidden(f"{resource.name} belong to no agent group")
    return {resource.scope_column: caller.limited_to}


def _row(db: apsw.Connection, resource: Resource, key: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    statement = statements.select_one(resource, {**key, **_limit_of(resource, caller)})
    found = rows.shown(resource.columns, db.execute(statement.sql, statement.values).fetchall())
    if not found:
        listed = f"`ncl {resource.name} list` shows which there are"
        raise NotFound(f"{resource.name}: there is none with {_said(key)}; {listed}")
    return found[0]


def _change(db: apsw.Connection, resource: Resource, statement: statements.Statement) -> None:
    """Run a statement that changes something; what the table refuses is said in plain words.

    Raises:
        InvalidArguments: The table refuses it. Nothing was changed.
    """
    try:
        with db:
            db.execute(statement.sql, statement.values)
    except apsw.ConstraintError as error:
        raise InvalidArguments(f"{resource.name}: {_refusal(str(error))}") from error


def _refuse_nobody(db: apsw.Connection, resource: Resource, row: Mapping[str, Any]) -> None:
    """Insist that what a row refers to is there, and name what is not: the table itself would not say which."""
    query = 'SELECT "from", "table", coalesce("to", \'id\') FROM pragma_foreign_key_list(?)'
    for column, table, target in db.execute(query, (resource.table,)).fetchall():
        value = row.get(column)
        found = f"SELECT 1 FROM {quoted(table)} WHERE {quoted(target)} = ?"
        if value is not None and db.execute(found, (value,)).fetchone() is None:
            raise InvalidArguments(f"{resource.name}: {flag_of(column)} {value!r} names none of the {table}")


def _refusal(text: str) -> str:
    kind, _, detail = text.partition(" constraint failed")
    what = ", ".join(part.rpartition(".")[2] for part in detail.removeprefix(": ").split(", "))
    said = {
        "UNIQUE": f"there is one already with the same {what}",
        "NOT NULL": f"{flag_of(what)} must not be empty",
        "FOREIGN KEY": "it names something that does not exist",
        "CHECK": f"the values do not fit: {what}",
    }
    return said.get(kind, text)


def _refuse_referred(db: apsw.Connection, resource: Resource, row: Mapping[str, Any], *, may_cascade: bool) -> None:
    found = references_to(db, resource.table, row)
    held = [one for one in found if not (one.cascades and (may_cascade or one.table in resource.owns))]
    if not held:
        return
    names = ", ".join(f"{one.count} in {one.table}" for one in held)
    can_go = resource.cascades and all(one.cascades for one in held)
    remedy = "give --cascade to take them along" if can_go else "remove those first"
    said = _said(rows.key_of(resource, row))
    raise Referred(f"{resource.name}: something still refers to {said}: {names}; {remedy}")


def _key_parameters(resource: Resource) -> list[Parameter]:
    columns = [statements.column_of(resource, name) for name in resource.key]
    return [_parameter(column, is_required=True, is_positional=True) for column in columns]


def _parameter(column: Column, *, is_required: bool = False, is_positional: bool = False) -> Parameter:
    choices = f"{'; ' if column.help else ''}one of {', '.join(column.choices)}" if column.choices else ""
    return Parameter(
        name=column.name,
        kind=column.kind,
        is_required=is_required,
        is_positional=is_positional,
        help=f"{column.help}{choices}",
    )


def _with_default(column: Column, parameter: Parameter) -> Parameter:
    if column.default is None:
        return parameter
    default = json.dumps(column.default) if isinstance(column.default, bool) else column.default
    return evolve(parameter, help=f"{parameter.help}{'; ' if parameter.help else ''}{default} where nothing is said")


def _said(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in key.items())
