"""Errors of the central database: those of one row, and those that pass with time."""

from __future__ import annotations

import apsw
import pytest

from nanoclaw_core.store.connection import CentralDatabaseFailed, central
from nanoclaw_core.testing.instance import Instance


def test_full_disk_in_a_transaction_is_no_error_of_a_row(instance: Instance) -> None:
    """SQLite itself rolls back, so the rollback of `with db` fails too and hides the error."""
    instance.db.execute("CREATE TABLE acme_large (content)")
    instance.db.pragma("max_page_count", 1)  # SQLite keeps the existing pages
    with pytest.raises(CentralDatabaseFailed, match="FullError: database or disk is full"), central(), instance.db:
        instance.db.execute("INSERT INTO acme_large VALUES (zeroblob(100000))")


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("INSERT INTO agent_groups SELECT * FROM agent_groups", apsw.ConstraintError),
        ("INSERT INTO absent VALUES (1)", apsw.SQLError),
    ],
)
def test_error_of_a_row_passes_unchanged(instance: Instance, statement: str, error: type[apsw.Error]) -> None:
    instance.group()
    with pytest.raises(error), central(), instance.db:
        instance.db.execute(statement)
