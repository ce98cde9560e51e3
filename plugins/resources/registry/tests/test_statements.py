"""Property tests: no input becomes SQL. Every value is bound or refused."""

from __future__ import annotations

import apsw
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_resource_registry import statements
from registry_host import BOOKS, _make_tables

from nanoclaw_core import InvalidArguments

NAMES = {column.name for column in BOOKS.columns}
VALUE = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


@given(
    st.dictionaries(st.sampled_from(sorted(NAMES)) | st.text(), VALUE),
    st.none() | st.text() | st.sampled_from([f"-{name}" for name in NAMES]),
)
def test_any_list_arguments_make_a_valid_query_or_an_error(filters, sort) -> None:
    db = apsw.Connection(":memory:")
    _make_tables(db)
    arguments = {name: value for name, value in filters.items() if name not in ("limit", "offset", "sort")}
    try:
        statement = statements.select_list(BOOKS, arguments | {"sort": sort})
    except InvalidArguments:
        return
    rows = db.execute(statement.sql, statement.values).fetchall()
    assert rows == []
    assert db.changes() == 0
    values = [value for name, value in arguments.items() if name in NAMES and isinstance(value, str) and len(value) > 8]
    assert not any(value in statement.sql for value in values)


@given(
    st.dictionaries(st.sampled_from(["title", "note"]), st.text().map(lambda text: text.replace("\0", "")), min_size=2)
)
def test_any_inserted_text_is_read_back_unchanged(row) -> None:
    db = apsw.Connection(":memory:")
    _make_tables(db)
    given_row = {"id": "b1", "pages": 1, "is_lent": False, "binding": "hard", **row}
    insertion = statements.insert(BOOKS, given_row)
    db.execute(insertion.sql, insertion.values)
    query = statements.select_one(BOOKS, {"id": "b1"})
    [values] = db.execute(query.sql, query.values)
    stored = dict(zip([column.name for column in BOOKS.columns], values, strict=True))
    assert {name: stored[name] for name in row} == row
