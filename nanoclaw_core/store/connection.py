"""Connection to the central database, and helpers to read and write rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import apsw
import attrs
from nanoclaw_untrusted.contended_databases import use_wal
from nanoclaw_wire.exhaustion import original_error

from nanoclaw_core.errors import NanoclawError

BUSY_TIMEOUT_MS = 5_000
T = TypeVar("T")
Bindings = Mapping[str, Any] | Sequence[Any]
CAUSED_BY_ROWS = (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError, apsw.SQLError, apsw.RangeError)
"""Errors that a row can cause; waiting does not help against them."""


class CentralDatabaseFailed(NanoclawError):
    """The central database cannot be read or written now.

    The session of the work is not at fault.
    """


@contextlib.contextmanager
def central() -> Iterator[None]:
    """Convert errors of the central database, because a session's files raise the same classes.

    Errors that a row can cause pass unchanged, because waiting does not help against them.

    Raises:
        CentralDatabaseFailed: SQLite cannot read or write the database now.
    """
    try:
        yield
    except apsw.Error as error:
        original = original_error(error)
        if isinstance(original, CAUSED_BY_ROWS):
            raise
        raise CentralDatabaseFailed(
            f"the central database cannot be used now: {type(original).__name__}: {original}"
        ) from error


def open_central(path: Path) -> apsw.Connection:
    """Open the central database, or create an empty one that only its owner can read.

    `synchronous=FULL` is needed, because a crash of the machine that loses a session or a wiring would lose accepted
    messages with it (I3, I4).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    db = apsw.Connection(str(path))
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    use_wal(db, BUSY_TIMEOUT_MS / 1000)
    db.pragma("synchronous", "full")
    db.pragma("foreign_keys", "on")
    db.pragma("trusted_schema", 0)
    return db


def rows(db: apsw.Connection, kind: type[T], source: str, bindings: Bindings = ()) -> list[T]:
    """Select the columns of an attrs class's fields; return one instance per row.

    `source` is the SQL after FROM, `sessions WHERE id = ?`. It must be a constant, never a user's text.
    """
    names = _names(kind)  # type: ignore[arg-type]  # mypy takes no type variable for hashable
    selected = db.execute(f"SELECT {', '.join(names)} FROM {source}", bindings)
    return [kind(**dict(zip(names, values, strict=True))) for values in selected]


def row(db: apsw.Connection, kind: type[T], source: str, bindings: Bindings = ()) -> T | None:
    """Return the first row that `rows` selects, or None."""
    selected = rows(db, kind, source, bindings)
    return selected[0] if selected else None


def insert(db: apsw.Connection, table: str, value: Any) -> None:
    """Insert an attrs instance with the table's columns as fields.

    `table` must be a constant.
    """
    write(db, "INSERT", table, attrs.asdict(value, recurse=False))


def write(db: apsw.Connection, verb: str, table: str, values: Mapping[str, Any]) -> None:
    """Write a row from column values; `verb` is `INSERT` or `INSERT OR REPLACE`."""
    marks = ", ".join(f":{name}" for name in values)
    bindable = {
        name: int(value) if isinstance(value, bool) else getattr(value, "value", value)
        for name, value in values.items()
    }
    db.execute(f"{verb} INTO {table} ({', '.join(values)}) VALUES ({marks})", bindable)


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))
