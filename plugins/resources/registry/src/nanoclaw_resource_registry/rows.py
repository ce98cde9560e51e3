"""Converts typed arguments to rows, and rows to answers. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nanoclaw_core import Column, InvalidArguments, Resource, flag_of

DECODED: Mapping[type, Callable[[Any], Any]] = {bool: bool, dict: json.loads, list: json.loads}


def key_of(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key columns of a row among the arguments."""
    return {name: arguments[name] for name in resource.key}


def new_row(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row that `create` writes: given values, generated ones and defaults.

    Raises:
        InvalidArguments: A value is missing or not one of the choices, or the values contradict each other.
    """
    row = {}
    for column in resource.columns:
        if column.generate is not None:
            row[column.name] = column.generate()
        elif column.name in arguments:
            row[column.name] = arguments[column.name]
        elif column.default is not None:
            row[column.name] = column.default
    _check_values(resource, row)
    resource.check(row)
    return row


def changes_of(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that `update` writes.

    Raises:
        InvalidArguments: No value is given, or a value is missing or not one of the choices.
    """
    updatable = [column.name for column in resource.columns if column.is_updatable]
    changes = {name: arguments[name] for name in updatable if name in arguments}
    if not changes:
        flags = ", ".join(map(flag_of, updatable))
        raise InvalidArguments(f"{resource.name} update: no value is given. Give at least one of {flags}")
    _check_values(resource, changes)
    return changes


def shown(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return rows as dicts for answers, with JSON and booleans decoded."""
    names = [column.name for column in columns]
    dicts = [dict(zip(names, values, strict=True)) for values in rows]
    for column in columns:
        if column.kind in DECODED:  # saves a pass over the rows if no column needs decoding
            decode = DECODED[column.kind]
            for row in dicts:
                row[column.name] = None if row[column.name] is None else decode(row[column.name])
    return dicts


def _check_values(resource: Resource, values: Mapping[str, Any]) -> None:
    for column in resource.columns:
        value = values.get(column.name)
        if column.is_required and column.name in values and value in (None, ""):
            raise InvalidArguments(f"{resource.name}: {flag_of(column.name)} must not be empty")
    check_choices(resource, values)


def check_choices(resource: Resource, values: Mapping[str, Any]) -> None:
    """Require that each value is None or one of the choices of its column.

    Raises:
        InvalidArguments: A value is not one of the choices.
    """
    for column in resource.columns:
        value = values.get(column.name)
        if column.choices and value is not None and value not in column.choices:
            expected = f"{flag_of(column.name)} must be one of {', '.join(column.choices)}"
            raise InvalidArguments(f"{resource.name}: {expected}, got {value!r}")
