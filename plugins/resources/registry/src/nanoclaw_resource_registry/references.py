"""Finds the rows that refer to a row.

Reads the foreign keys of the database, so that tables of all plugins count.
"""

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
        table: The referring table.
        count: The number of referring rows.
        cascades: True if the database deletes these rows together with the row.
    """

    table: str
    count: int
    cascades: bool


def references_to(db: apsw.Connection, table: str, row: Mapping[str, Any]) -> list[Reference]:
    """Return the references to a row of a table, in the order of table names."""
    references = []
    keys: list[Any] = db.execute(_KEYS, (table,)).fetchall()
    for referring, column, target, on_delete in keys:
        query = f"SELECT count(*) FROM {quoted(referring)} WHERE {quoted(column)} = ?"
        count = db.execute(query, (row.get(target or "id"),)).get
        if count:
            references.append(Reference(table=referring, count=count, cascades=on_delete == "CASCADE"))
    return references
