"""Reads the row of an agent group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from nanoclaw_core import GroupId


def read(db: apsw.Connection, group_id: GroupId, columns: Sequence[str]) -> dict[str, Any]:
    """Return these columns of an existing agent group."""
    cursor = db.execute(f"SELECT {', '.join(columns)} FROM agent_groups WHERE id = ?", (group_id,))
    return dict(zip(columns, cursor.fetchall()[0], strict=True))
