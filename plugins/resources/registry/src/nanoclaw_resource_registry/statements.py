"""Builds SQL from a resource and typed arguments.

Pure: names come only from the resource, values are always bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from nanoclaw_core import Column, InvalidArguments, Resource

DEFAULT_LIMIT = 200
MAX_LIMIT = 10_000


@frozen
class Statement:
    """A SQL statement and the values of its placeholders, in order."""

    sql: str
    values: tuple[Any, ...] = ()


def select_list(resource: Resource, arguments: Mapping[str, Any]) -> Statement:
    """Return the query of `list`.

    Args:
        resource: The resource to list.
        arguments: Filters by column name (None finds rows without a value), and `limit`, `offset`, `sort`, `columns`.

    Raises:
        InvalidArguments: The limit, offset, sort column or a listed column is invalid.
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
        InvalidArguments: A column does not exist.
    """
    given = arguments.get("columns")
    if not given:
        return resource.display or _names(resource)
    named = [name.strip().replace("-", "_") for text in given for name in str(text).split(",")]
    unknown = [name for name in named if name not in _names(resource) and named != ["all"]]
    if unknown:
        known = ", ".join(_names(resource))
        raise InvalidArguments(f"--columns: {resource.name} has no column {unknown[0]!r}. Known: {known}")
    return _names(resource) if named == ["all"] else list(dict.fromkeys(named))


def select_one(resource: Resource, key: Mapping[str, Any]) -> Statement:
    """Return the query for the row with this key."""
    where, values = _where(key)
    return Statement(f"SELECT {_listed(_names(resource))} FROM {quoted(resource.table)}{where}", values)


def insert(resource: Resource, row: Mapping[str, Any]) -> Statement:
    """Return the statement that inserts a row."""
    placeholders = ", ".join("?" * len(row))
    sql = f"INSERT INTO {quoted(resource.table)} ({_listed(row)}) VALUES ({placeholders})"
    return Statement(sql, tuple(map(_bindable, row.values())))


def update(resource: Resource, key: Mapping[str, Any], changes: Mapping[str, Any]) -> Statement:
    """Return the statement that updates the row with this key."""
    where, values = _where(key)
    assignments = ", ".join(f"{quoted(name)} = ?" for name in changes)
    sql = f"UPDATE {quoted(resource.table)} SET {assignments}{where}"
    return Statement(sql, (*map(_bindable, changes.values()), *values))


def delete(resource: Resource, key: Mapping[str, Any]) -> Statement:
    """Return the statement that deletes the row with this key."""
    where, values = _where(key)
    return Statement(f"DELETE FROM {quoted(resource.table)}{where}", values)


def column_of(resource: Resource, name: str) -> Column:
    """Return the column with this name, which must exist."""
    return next(column for column in resource.columns if column.name == name)


def quoted(name: str) -> str:
    """Return a name quoted for SQL. Any string is safe."""
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
        raise InvalidArguments(f"--sort: {resource.name} has no column {given!r}. Known: {known}")
    direction = " DESC" if sort and sort.startswith("-") else ""
    names = [f"{quoted(name)}{direction}"] if sort else []
    default = ["created_at"] if not sort and "created_at" in _names(resource) else []
    keys = [quoted(key) for key in [*default, *resource.key] if key != name]
    return " ORDER BY " + ", ".join([*names, *keys] or ["rowid"])


def limit_of(arguments: Mapping[str, Any]) -> int:
    """Return the maximum number of rows of a list.

    Raises:
        InvalidArguments: The limit is out of range.
    """
    limit: int | None = arguments.get("limit")
    if limit is None:
        return DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArguments(f"--limit must be between 1 and {MAX_LIMIT}, got {limit}")
    return limit


def _offset(offset: int | None) -> int:
    if offset is not None and not 0 <= offset < 2**63:
        raise InvalidArguments(f"--offset must be between 0 and 2^63 - 1, got {offset}")
    return offset or 0


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(map(quoted, names))


def _bindable(value: Any) -> Any:
    """Return a value in a form that SQLite can store.

    Raises:
        InvalidArguments: SQLite cannot store an integer beyond 64 bits or invalid Unicode.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidArguments("an integer is too large. Give one that fits in 64 bits")
    if isinstance(value, str) and value.encode("utf-8", "replace").decode("utf-8") != value:
        raise InvalidArguments(f"{value!r} is not valid Unicode. Remove the broken characters")
    return int(value) if isinstance(value, bool) else value
