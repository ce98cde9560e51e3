"""Integrity checks of SQLite files."""

import hashlib
from pathlib import Path

import apsw
import pytest
from nanoclaw_untrusted.database_checks import page_damage, page_damage_within, schema_damage, schema_made_by
from nanoclaw_wire import PROTOCOL, session_files

DIGESTS = {(1, "inbound"): "a84ffc3c52aaa822", (1, "outbound"): "473117eb4ce69da0"}


@pytest.mark.parametrize(
    ("name", "script"), [("inbound", session_files.INBOUND_SCHEMA), ("outbound", session_files.OUTBOUND_SCHEMA)]
)
def test_session_schema_is_fixed_within_a_protocol(name: str, script: str) -> None:
    """A table that changes under the same PROTOCOL would quarantine each session of an upgraded instance."""
    schema = repr(sorted(schema_made_by(script).items()))
    assert hashlib.sha256(schema.encode()).hexdigest()[:16] == DIGESTS[PROTOCOL, name]


def test_schema_damage_ignores_comments_and_blanks() -> None:
    """The tables are the same, but their SQL texts differ."""
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE t (a TEXT, -- other\n b TEXT)")
    script = "CREATE TABLE t (a TEXT,   -- a comment\n    b TEXT)"
    assert schema_damage(db, [script]) == ""
    assert "t" in schema_damage(db, ["CREATE TABLE t (a TEXT, c TEXT)"])
    db.execute("CREATE TABLE more (a)")
    assert "more" in schema_damage(db, [script])
    assert schema_damage(db, [script], may_have_more=True) == ""


def test_schema_that_is_not_unicode_is_damage(tmp_path: Path) -> None:
    """A flipped bit may leave bytes that are not UTF-8.

    The check reports damage and does not fail.
    """
    path = tmp_path / "some.db"
    db = apsw.Connection(str(path))
    script = "CREATE TABLE t (a TEXT CHECK (a <> 'word'))"
    db.execute(script)
    db.close()
    path.write_bytes(path.read_bytes().replace(b"'word'", b"'w\xffrd'"))
    db = apsw.Connection(str(path))
    assert "t" in schema_damage(db, [script])
    db.close()


def test_page_check_stops_at_its_time_limit() -> None:
    """A database that is too large for the time limit counts as intact."""
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE t (a INTEGER CHECK (a > 0))")
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) INSERT INTO t SELECT i FROM n"
    )
    db.pragma("ignore_check_constraints", 1)
    db.execute("INSERT INTO t VALUES (-1)")
    db.pragma("ignore_check_constraints", 0)
    assert page_damage_within(db, 0.0) == ""
    assert "CHECK" in page_damage(db)
