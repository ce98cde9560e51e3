"""Answers as people read them."""

from __future__ import annotations

import pytest
from nanoclaw_client.rendering import render


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("text\nas it is", "text\nas it is"),
        ([], "(no rows)"),
        (None, ""),
        (7, "7"),
        ({"a": 1}, '{\n  "a": 1\n}'),
        (["a"], '[\n  "a"\n]'),
        ([{"a": [1]}], '[\n  {\n    "a": [\n      1\n    ]\n  }\n]'),
    ],
)
def test_data_that_is_no_table_is_shown_as_it_is(data, shown):
    assert render(data) == shown


def test_a_list_of_flat_records_is_a_table():
    rows = [{"id": "ag-1", "name": "Ada", "on": True}, {"id": "ag-22", "name": None, "on": False}]
    assert render(rows).splitlines() == [
        "id     name  on",
        "─────  ────  ─────",
        "ag-1   Ada   true",
        "ag-22        false",
    ]


def test_a_column_that_only_a_later_record_has_is_shown():
    assert render([{"a": 1}, {"a": 2, "b": 3}]).splitlines()[0] == "a  b"


def test_a_cell_stays_on_its_line_and_steers_no_terminal():
    assert render([{"a": "x\ny\x1b[2J"}]).splitlines()[2] == "x y [2J"
