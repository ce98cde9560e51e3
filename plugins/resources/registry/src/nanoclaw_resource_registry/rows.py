"""Between typed arguments and rows: what `create` and `update` write, and what people are shown. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nanoclaw_core import Column, InvalidArguments, Resource, flag_of

DECODED: Mapping[type, Callable[[Any], Any]] = {bool: bool, dict: json.loads, list: json.loads}


def key_of(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key among the arguments."""
    return {name: arguments[name] for name in resource.key}


def new_row(resource: Resource, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row that `create` writes: what is given, what is generated, and defaults.

    Raises:
        InvalidArguments: A value is missing or not one of the choices, or the values do not fit together.
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
    """Return what `update` is to change.

    Raises:
        InvalidArguments: Nothing is given, or a value is missing or not one of the choices.
    """
    updatable = [column.name for column in resource.columns if column.is_updatable]
    changes = {name: arguments[name] for name in updatable if name in arguments}
    if not changes:
        flags = ", ".join(map(flag_of, updatable))
        raise InvalidArguments(f"{resource.name} update: nothing to change; there are {flags}")
    _check_values(resource, changes)
    return changes


def shown(columns: Sequence[Column], found: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return rows as people and machines see them: JSON decoded, yes and no as such."""
    names = [column.name for column in columns]
    shown = [dict(zip(names, values, strict=True)) for values in found]
    for column in columns:
        if column.kind in DECODED:  # of hundreds of rows most have nothing to decode
            decode = DECODED[column.kind]
            for row in shown:
                row[column.name] = None if row[column.name] is None else decode(row[column.name])
    return shown


def _check_values(resource: Resource, values: Mapping[str, Any]) -> None:
    for column in resource.columns:
        value = values.get(column.name)
        if column.is_required and column.name in values and value in (None, ""):
            raise InvalidArguments(f"{resource.name}: {flag_of(column.name)} must not be empty")
    check_choices(resource, values)


def check_choices(resource: Resource, values: Mapping[str, Any]) -> None:
    """Insist that each value is one of its column's choices, or None.

    Raises:
        InvalidArguments: One is not.
    """
    for column in resource.columns:
        value = values.get(column.name)
        if column.choices and value is not None and value not in column.choices:
            said = f"{flag_of(column.name)} must be one of {', '.join(column.choices)}"
            raise InvalidArguments(f"{resource.name}: {said}, not {value!r}")
