"""Opening the central database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
import attrs

BUSY_TIMEOUT_MS = 5_000
T = TypeVar("T")
Bindings = Mapping[str, Any] | Sequence[Any]


def open_central(path: Path) -> apsw.Connection:
    """Open the central database, or make an empty one; private to its owner.

    `synchronous=FULL` because a session or a wiring that a crash of the machine loses would lose accepted messages
    with it (I3, I4).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    db = apsw.Connection(str(path))
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    db.pragma("foreign_keys", "on")
    db.pragma("trusted_schema", 0)
    return db


def rows(db: apsw.Connection, kind: type[T], query: str, bindings: Bindings = ()) -> list[T]:
    """Run a query that selects `columns(kind)`; return one instance per row."""
    names = _names(kind)
    return [kind(**dict(zip(names, values, strict=True))) for values in db.execute(query, bindings)]


def row(db: apsw.Connection, kind: type[T], query: str, bindings: Bindings = ()) -> T | None:
    """Run a query for at most one row."""
    found = rows(db, kind, query, bindings)
    return found[0] if found else None


def columns(kind: type) -> str:
    """Return an attrs class's fields as a column list, in order."""
    return ", ".join(_names(kind))


def insert(db: apsw.Connection, table: str, value: Any) -> None:
    """Insert an attrs instance whose fields are the table's columns. The table name is ours, never a caller's text."""
    names = _names(type(value))
    marks = ", ".join(f":{name}" for name in names)
    db.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", _bindable(value))


def _names(kind: type) -> list[str]:
    return [field.name for field in attrs.fields(kind)]


def _bindable(value: Any) -> dict[str, Any]:
    return {
        name: getattr(inner, "value", inner) if not isinstance(inner, bool) else int(inner)
        for name, inner in attrs.asdict(value, recurse=False).items()
    }
