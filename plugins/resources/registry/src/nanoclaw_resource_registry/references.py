"""Who refers to a row: asked of the database's own foreign keys, so that a table of any plugin counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw
from attrs import frozen


@frozen(kw_only=True)
class Reference:
    """Rows of one table that refer to a row.

    Args:
        cascades: True where the table says that they go with it.
    """

    table: str
    count: int
    cascades: bool


def references_to(db: apsw.Connection, table: str, row: Mapping[str, Any]) -> list[Reference]:
    """Return which tables hold rows that refer to a row of a table, in name order."""
    found = []
    query = 'SELECT m.name, f."from", f."to", f.on_delete FROM sqlite_schema m, pragma_foreign_key_list(m.name) f'
    keys = db.execute(f"{query} WHERE m.type = 'table' AND f.\"table\" = ? ORDER BY m.name, f.id", (table,)).fetchall()
    for referring, column, target, on_delete in keys:
        quoted = ['"' + name.replace('"', '""') + '"' for name in (referring, column)]
        value = row.get(target or "id")
        count = db.execute(f"SELECT count(*) FROM {quoted[0]} WHERE {quoted[1]} = ?", (value,)).get
        if count:
            found.append(Reference(table=referring, count=count, cascades=on_delete == "CASCADE"))
    return found
