"""The core's own tables, one SQL file per step.

A released step never changes; each change is a new step.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import apsw

from nanoclaw_core.descriptors.administration import Migration

STEPS = (
    "0001-first",
    "0002-approvals-and-wirings",
    "0003-destinations",
    "0004-pattern-timeouts",
    "0005-accepted-messages",
    "0006-delivery-dates",
    "0007-usage",
)


def core_migrations() -> Sequence[Migration]:
    """Return the core's steps, oldest first."""
    return tuple(Migration(name=name, apply=partial(_run, name)) for name in STEPS)


def core_tables(db: apsw.Connection) -> list[str]:
    """Return the names of all tables in the database."""
    return [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]


def core_scripts(names: Collection[str]) -> Sequence[str]:
    """Return the SQL of some of the core's steps, oldest first."""
    return [_script(name) for name in STEPS if name in names]


def _run(name: str, db: apsw.Connection) -> None:
    db.execute(_script(name))


def _script(name: str) -> str:
    return Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
