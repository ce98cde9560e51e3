"""Reading the row of an agent group that was just made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from nanoclaw_core import GroupId


def read(db: apsw.Connection, group_id: GroupId, columns: Sequence[str]) -> dict[str, Any]:
    """Return an agent group that is there, by these columns."""
    found = db.execute(f"SELECT {', '.join(columns)} FROM agent_groups WHERE id = ?", (group_id,))
    return dict(zip(columns, found.fetchall()[0], strict=True))
