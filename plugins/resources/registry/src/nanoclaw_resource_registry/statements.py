"""SQL out of a resource and typed arguments. Pure; every name comes from the resource, every value is bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from nanoclaw_core import Column, InvalidArguments, Resource

LIMIT = 200
LIMIT_AT_MOST = 10_000


@frozen
class Statement:
    """One SQL statement and what is bound to its marks, in order."""

    sql: str
    values: tuple[Any, ...] = ()


def select_list(resource: Resource, arguments: Mapping[str, Any]) -> Statement:
    """Return the query of `list`.

    Args:
        arguments: Filters by column name (None finds rows without a value), and `limit`, `offset`, `sort`, `columns`.

    Raises:
        InvalidArguments: A limit, an offset or a sort that makes no sense.
    """
    filters = {name: arguments[name] for name in _names(resource) if name in arguments}
    where, values = _where(filters)
    limit, offset = limit_of(arguments), _offset(arguments.get("offset"))
    order = _order(resource, arguments.get("sort"))
    sql = f"SELECT {_listed(listed(resource, arguments))} FROM {quoted(resource.table)}{where}{order} LIMIT ? OFFSET ?"
    return Statement(sql, (*values, limit, offset))


def listed(resource: Resource, arguments: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the columns that a list shows.

    Raises:
        InvalidArguments: One is named that there is not.
    """
    given = arguments.get("columns")
    if not given:
        return resource.display or _names(resource)
    named = [name.strip().replace("-", "_") for text in given for name in str(text).split(",")]
    unknown = [name for name in named if name not in _names(resource) and named != ["all"]]
    if unknown:
        raise InvalidArguments(
            f"{resource.name} have no column {unknown[0]!r}; there are: {', '.join(_names(resource))}"
        )
    return _names(resource) if named == ["all"] else list(dict.fromkeys(named))


def select_one(resource: Resource, key: Mapping[str, Any]) -> Statement:
    """Return the query of one row by its key."""
    where, values = _where(key)
    return Statement(f"SELECT {_listed(_names(resource))} FROM {quoted(resource.table)}{where}", values)


def insert(resource: Resource, row: Mapping[str, Any]) -> Statement:
    """Return the statement that makes a row."""
    marks = ", ".join("?" * len(row))
    sql = f"INSERT INTO {quoted(resource.table)} ({_listed(row)}) VALUES ({marks})"
    return Statement(sql, tuple(map(_bindable, row.values())))


def update(resource: Resource, key: Mapping[str, Any], changes: Mapping[str, Any]) -> Statement:
    """Return the statement that changes a row."""
    where, values = _where(key)
    assignments = ", ".join(f"{quoted(name)} = ?" for name in changes)
    sql = f"UPDATE {quoted(resource.table)} SET {assignments}{where}"
    return Statement(sql, (*map(_bindable, changes.values()), *values))


def delete(resource: Resource, key: Mapping[str, Any]) -> Statement:
    """Return the statement that removes a row."""
    where, values = _where(key)
    return Statement(f"DELETE FROM {quoted(resource.table)}{where}", values)


def column_of(resource: Resource, name: str) -> Column:
    """Return a column by its name; the name is one of the resource's."""
    return next(column for column in resource.columns if column.name == name)


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def _names(resource: Resource) -> list[str]:
    return [column.name for column in resource.columns]


def _where(filters: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    if not filters:
        return "", ()
    return (
        " WHERE " + " AND ".join(f"{quoted(name)} IS ?" for name in filters),
        tuple(map(_bindable, filters.values())),
    )


def _order(resource: Resource, sort: str | None) -> str:
    given = sort.removeprefix("-") if sort else ""
    name = given.replace("-", "_")
    if sort and name not in _names(resource):
        known = ", ".join(_names(resource))
        raise InvalidArguments(f"{resource.name} have no column {given!r} to sort by; there are: {known}")
    direction = " DESC" if sort and sort.startswith("-") else ""
    names = [f"{quoted(name)}{direction}"] if sort else []
    usual = ["created_at"] if not sort and "created_at" in _names(resource) else []
    keys = [quoted(key) for key in [*usual, *resource.key] if key != name]
    return " ORDER BY " + ", ".join([*names, *keys] or ["rowid"])


def limit_of(arguments: Mapping[str, Any]) -> int:
    """Return how many rows a list has at most.

    Raises:
        InvalidArguments: A limit that makes no sense.
    """
    limit: int | None = arguments.get("limit")
    if limit is None:
        return LIMIT
    if not 1 <= limit <= LIMIT_AT_MOST:
        raise InvalidArguments(f"--limit must be between 1 and {LIMIT_AT_MOST}, not {limit}")
    return limit


def _offset(offset: int | None) -> int:
    if offset is not None and not 0 <= offset < 2**63:
        raise InvalidArguments(f"--offset must not be negative or huge, and is {offset}")
    return offset or 0


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(map(quoted, names))


def _bindable(value: Any) -> Any:
    """Return a value as SQLite takes it.

    Raises:
        InvalidArguments: It takes none like this: a number beyond 64 bits, or half a character.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidArguments("a number is too large: 64 bits hold it, or it is none that a row can have")
    if isinstance(value, str) and value.encode("utf-8", "replace").decode("utf-8") != value:
        raise InvalidArguments(f"{value!r} is no valid Unicode")
    return int(value) if isinstance(value, bool) else value
