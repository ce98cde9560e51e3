"""Checks of a whole SQLite file: its pages and indexes, and its table definitions.

SQLite opens a file with a damaged definition, and then refuses each write to that table. A damaged index hides rows
without an error. Both checks read whole files: use them after an error or once at a start, never for each message.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

import apsw

Schema = Mapping[tuple[str, str], tuple[str, str]]
MAX_OBJECTS = 200  # in one file; ours have a fifth of that
MAX_DEFINITION = 10_000  # characters; the longest of ours has 1 500
_MANGLED = (
    *(apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.SchemaChangeError, apsw.RangeError),
    UnicodeDecodeError,  # SQLite's error message quotes the damaged text
)
_COMMENT = re.compile(r"--[^\n]*")
_BLANKS = re.compile(r"\s+")
_STEPS_BETWEEN = 1_000


def damage_found_by(
    check: Callable[[], str],
    path: Path,
    *,
    damage: tuple[type[Exception], ...] = (),
    no_damage: tuple[type[Exception], ...] = (),
) -> str:
    """Call a check of a file and return its result, or the error as the damage.

    Errors of SQLite and the system that do not show damage mean that the file cannot be checked now: the result is an
    empty text.

    Args:
        check: Returns the damage; an empty text if there is none.
        path: The file.
        damage: More errors that are damage.
        no_damage: More errors that are none.
    """
    damaged: tuple[type[Exception], ...] = (*_MANGLED, *damage)
    unreadable: tuple[type[Exception], ...] = (apsw.Error, OSError, *no_damage)
    try:
        return check()
    except damaged as error:
        return f"{path.name}: {error}"
    except unreadable:
        return ""


def page_damage(db: apsw.Connection) -> str:
    """Check all pages, rows and indexes of a file; return the first damage, or an empty text.

    `quick_check` does not compare indexes with their tables, so it would miss rows that are absent from an index.
    """
    try:
        report: str = db.execute("PRAGMA integrity_check(1)").get
    except UnicodeDecodeError as error:  # the report quotes the damaged text
        return str(error)
    return "" if report == "ok" else report.splitlines()[-1]


def page_damage_within(db: apsw.Connection, cpu_s: float) -> str:
    """Check as `page_damage` does; return an empty text if the processor time is over."""
    until = time.thread_time() + cpu_s
    db.set_progress_handler(lambda: time.thread_time() > until, _STEPS_BETWEEN)
    try:
        return page_damage(db)
    except apsw.InterruptError:
        return ""
    finally:
        db.set_progress_handler(None)


def schema_of(db: apsw.Connection) -> Schema:
    """Return each object's table and definition by type and name, without comments and extra blanks.

    Versions that differ only in comments have the same schema.
    """
    texts = [f"substr(CAST({column} AS BLOB), 1, {MAX_DEFINITION})" for column in ("type", "name", "tbl_name", "sql")]
    objects = db.execute(f"SELECT {', '.join(texts)} FROM sqlite_schema LIMIT ?", (MAX_OBJECTS,))
    rows = ([_plain(text or b"") for text in row] for row in objects)
    return {(kind, name): (table, sql) for kind, name, table, sql in rows}


@cache
def schema_made_by(*scripts: str) -> Schema:
    """Return the schema that SQL scripts create in an empty database."""
    with contextlib.closing(apsw.Connection(":memory:")) as db:
        for script in scripts:
            db.execute(script)
        return schema_of(db)


def schema_damage(db: apsw.Connection, scripts: Iterable[str], *, may_have_more: bool = False) -> str:
    """Compare the schema with what SQL scripts create; return the damage in one text, empty if there is none.

    Extra objects are ignored if `may_have_more`.
    """
    actual, expected = schema_of(db), schema_made_by(*scripts)
    names = {key[1] for key in expected if actual.get(key) != expected[key]}
    if not may_have_more:
        names |= {name for kind, name in actual if (kind, name) not in expected}
    return f"the definition of {', '.join(sorted(names)[:5])} is damaged" if names else ""


def _plain(text: bytes) -> str:
    return _BLANKS.sub(" ", _COMMENT.sub(" ", text.decode("utf-8", "replace"))).strip()
