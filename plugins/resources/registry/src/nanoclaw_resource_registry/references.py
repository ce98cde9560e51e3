"""Who refers to a row: asked of the database's own foreign keys, so that a table of any plugin counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw
from attrs import frozen

from nanoclaw_resource_registry.statements import quoted

_KEYS = """
SELECT m.name, f."from", f."to", f.on_delete FROM sqlite_schema m, pragma_foreign_key_list(m.name) f
WHERE m.type = 'table' AND f."table" = ? ORDER BY m.name, f.id
"""


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
    keys: list[Any] = db.execute(_KEYS, (table,)).fetchall()
    for referring, column, target, on_delete in keys:
        query = f"SELECT count(*) FROM {quoted(referring)} WHERE {quoted(column)} = ?"
        count = db.execute(query, (row.get(target or "id"),)).get
        if count:
            found.append(Reference(table=referring, count=count, cascades=on_delete == "CASCADE"))
    return found
