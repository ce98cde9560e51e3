"""Schema changes of several owners in one database: one ledger, and one set of steps per owner.

A step and its ledger row commit together. A restricted step may only touch objects with the prefix of its owner. An
SQLite authorizer protects rows. A comparison before and after the step protects the schema, because the authorizer
receives neither the new name of a renamed table nor the table of an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import apsw
from nanoclaw_wire import clock
from nanoclaw_wire.outbound import immediate

from nanoclaw_untrusted.errors import MigrationError

LEDGER = """
CREATE TABLE IF NOT EXISTS migrations (
    plugin TEXT NOT NULL, name TEXT NOT NULL, applied_at TEXT NOT NULL, PRIMARY KEY (plugin, name)
) STRICT
"""
_WRITES = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_NEVER = frozenset({apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA, apsw.SQLITE_TRANSACTION})


class Step(Protocol):
    """One step of a schema."""

    @property
    def name(self) -> str:
        """A name, unique among the steps of its owner."""

    @property
    def apply(self) -> Callable[[apsw.Connection], None]:
        """The function that changes the schema, in a transaction of the caller."""


def migrate(db: apsw.Connection, owner: str, steps: Sequence[Step], *, is_restricted: bool) -> list[str]:
    """Apply an owner's missing steps; return their names.

    Args:
        db: The database, with the table of `LEDGER`.
        owner: The name of the owner in the ledger.
        steps: All steps of the owner, oldest first.
        is_restricted: True if they may only touch objects with the `table_prefix` of the owner.

    Raises:
        MigrationError: A step failed or touched a foreign object; it left nothing behind, and earlier steps stay
            applied.
    """
    return [step.name for step in _missing(db, owner, steps) if _apply(db, owner, step, is_restricted)]


def require_separate_prefixes(owners: Iterable[str], foreign_tables: Iterable[str]) -> None:
    """Check that no owner's table prefix covers the tables of another owner or foreign tables.

    Raises:
        MigrationError: A prefix covers foreign tables; the error names both sides.
    """
    prefixes = {owner: table_prefix(owner) for owner in owners}
    taken: Mapping[str, str] = {**prefixes, **{f"table {name}": name for name in foreign_tables}}
    for owner, prefix in prefixes.items():
        for other, name in taken.items():
            if other != owner and name.startswith(prefix):
                raise MigrationError(
                    f"the plugin name {owner!r} has the table prefix {prefix!r}, which covers {other!r}"
                )


def table_prefix(owner: str) -> str:
    """Return the prefix of an owner's tables, indexes and triggers."""
    return owner.replace("-", "_") + "_"


def applied_steps(db: apsw.Connection, owner: str) -> list[str]:
    """Return the names of the applied steps of an owner."""
    return [name for (name,) in db.execute("SELECT name FROM migrations WHERE plugin = ?", (owner,))]


def _missing(db: apsw.Connection, owner: str, steps: Sequence[Step]) -> list[Step]:
    applied = set(applied_steps(db, owner))
    return [step for step in steps if step.name not in applied]


def _apply(db: apsw.Connection, owner: str, step: Step, is_restricted: bool) -> bool:
    try:
        with immediate(db):
            if not _missing(db, owner, [step]):
                return False  # another process applied it meanwhile
            if is_restricted:
                _apply_restricted(db, table_prefix(owner), step)
            else:
                step.apply(db)
            db.execute("INSERT INTO migrations VALUES (?, ?, ?)", (owner, step.name, clock.now_text()))
    except (Exception, SystemExit) as error:  # error boundary: a step is foreign code, and any error undoes it
        raise MigrationError(f"the migration {step.name!r} of {owner!r} failed: {error}") from error
    return True


def _apply_restricted(db: apsw.Connection, prefix: str, step: Step) -> None:
    def authorize(operation: int, table: str | None, *_rest: str | None) -> int:
        is_own = (table or "").startswith((prefix, "sqlite_"))
        is_forbidden = operation in _NEVER or (operation in _WRITES and not is_own)
        return apsw.SQLITE_DENY if is_forbidden else apsw.SQLITE_OK

    before = _schema_outside(db, prefix)
    db.authorizer = authorize
    try:
        step.apply(db)
    finally:
        db.authorizer = None
    if _schema_outside(db, prefix) != before:
        raise MigrationError(f"it changed a table, index, view or trigger outside {prefix}*")


def _schema_outside(db: apsw.Connection, prefix: str) -> set[tuple[str, str, str, str | None]]:
    objects = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
    return {row for row in objects if not _is_inside(row[1], row[2], prefix)}


def _is_inside(name: str, table: str, prefix: str) -> bool:
    if name.startswith("sqlite_"):  # SQLite's own objects: automatic indexes and sqlite_sequence
        return table.startswith((prefix, "sqlite_"))
    return name.startswith(prefix) and table.startswith(prefix)
