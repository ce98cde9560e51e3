"""Schema changes: one ledger, and one set of steps per plugin.

A step and its ledger row commit together. A plugin's step may only touch objects with its own prefix. An SQLite
authorizer protects rows. A comparison before and after the step protects the schema, because the authorizer receives
neither the new name of a renamed table nor the table of an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import apsw
from nanoclaw_wire import clock
from nanoclaw_wire.outbound import immediate

from nanoclaw_core.descriptors.administration import Migration
from nanoclaw_core.descriptors.names import CORE
from nanoclaw_core.errors import PLUGIN_ERRORS, MigrationError

LEDGER = """
CREATE TABLE IF NOT EXISTS migrations (
    plugin TEXT NOT NULL, name TEXT NOT NULL, applied_at TEXT NOT NULL, PRIMARY KEY (plugin, name)
) STRICT
"""
_WRITES = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
_NEVER = frozenset({apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA, apsw.SQLITE_TRANSACTION})


def migrate_core(db: apsw.Connection, steps: Sequence[Migration]) -> list[str]:
    """Apply the core's missing steps; return their names.

    Raises:
        MigrationError: A step failed; it left nothing behind.
    """
    db.execute(LEDGER)
    return [step.name for step in _missing(db, CORE, steps) if _apply(db, CORE, step, is_restricted=False)]


def migrate_plugin(db: apsw.Connection, plugin: str, steps: Sequence[Migration]) -> list[str]:
    """Apply a plugin's missing steps, restricted to its own tables; return their names.

    Raises:
        MigrationError: A step failed or touched a foreign object; it left nothing behind, and earlier steps stay
            applied.
    """
    return [step.name for step in _missing(db, plugin, steps) if _apply(db, plugin, step, is_restricted=True)]


def require_separate_prefixes(plugins: Iterable[str], core_tables: Iterable[str]) -> None:
    """Check that no plugin's table prefix covers the tables of another plugin or of the core.

    Raises:
        MigrationError: A prefix covers foreign tables; the error names both sides.
    """
    prefixes = {plugin: table_prefix(plugin) for plugin in plugins}
    taken: Mapping[str, str] = {**prefixes, **{f"table {name}": name for name in core_tables}}
    for plugin, prefix in prefixes.items():
        for other, name in taken.items():
            if other != plugin and name.startswith(prefix):
                raise MigrationError(
                    f"the plugin name {plugin!r} has the table prefix {prefix!r}, which covers {other!r}"
                )


def table_prefix(plugin: str) -> str:
    """Return the prefix of a plugin's tables, indexes and triggers."""
    return plugin.replace("-", "_") + "_"


def applied_steps(db: apsw.Connection, plugin: str) -> list[str]:
    """Return the names of the applied steps of a plugin or the core."""
    return [name for (name,) in db.execute("SELECT name FROM migrations WHERE plugin = ?", (plugin,))]


def _missing(db: apsw.Connection, plugin: str, steps: Sequence[Migration]) -> list[Migration]:
    applied = set(applied_steps(db, plugin))
    return [step for step in steps if step.name not in applied]


def _apply(db: apsw.Connection, plugin: str, step: Migration, *, is_restricted: bool) -> bool:
    try:
        with immediate(db):
            if not _missing(db, plugin, [step]):
                return False  # another process applied it meanwhile
            if is_restricted:
                _apply_restricted(db, table_prefix(plugin), step)
            else:
                step.apply(db)
            db.execute("INSERT INTO migrations VALUES (?, ?, ?)", (plugin, step.name, clock.now_text()))
    except PLUGIN_ERRORS as error:  # error boundary: a step is a plugin's code, and any error undoes the transaction
        raise MigrationError(f"the migration {step.name!r} of {plugin!r} failed: {error}") from error
    return True


def _apply_restricted(db: apsw.Connection, prefix: str, step: Migration) -> None:
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
