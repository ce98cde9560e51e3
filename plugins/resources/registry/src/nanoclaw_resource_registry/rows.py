"""Between typed arguments and rows: what `create` and `update` write, and what people are shown. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nanoclaw_core import Column, InvalidArguments, Resource


def key_of(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key among the arguments."""
    return {name: arguments[name] for name in resource.key}


def new_row(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row that `create` writes: what is given, what is generated, and defaults.

    Raises:
        InvalidArguments: A value is not one of the choices, or the values do not fit together.
    """
    row = {}
    for column in resource.columns:
        if column.generate is not None:
            row[column.name] = column.generate()
        elif column.name in arguments:
            row[column.name] = arguments[column.name]
        elif column.default is not None:
            row[column.name] = column.default
    _check_choices(resource, row)
    resource.check(row)
    return row


def changes_of(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `update` is to change.

    Raises:
        InvalidArguments: Nothing is given, or a value is not one of the choices.
    """
    updatable = [column.name for column in resource.columns if column.is_updatable]
    changes = {name: arguments[name] for name in updatable if name in arguments}
    if not changes:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in updatable)
        raise InvalidArguments(f"{resource.name} update: nothing to change; there are {flags}")
    _check_choices(resource, changes)
    return changes


def shown(columns: Sequence[Column], values: Sequence[Any]) -> dict[str, Any]:
    """Return a row as people and machines see it: JSON decoded, yes and no as such."""
    pairs = zip(columns, values, strict=True)
    return {column.name: _shown(column, value) for column, value in pairs}


def _shown(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind is bool:
        return bool(value)
    if column.kind in (dict, list):
        return json.loads(value)
    return value


def _check_choices(resource: Resource, values: Mapping[str, Any]) -> None:
    for column in resource.columns:
        value = values.get(column.name)
        if column.choices and value is not None and value not in column.choices:
            flag = f"--{column.name.replace('_', '-')}"
            raise InvalidArguments(f"{resource.name}: {flag} must be one of {', '.join(column.choices)}, not {value!r}")
