"""Answers as people read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_client.rendering import render
from nanoclaw_client.terminal_text import terminal_safe


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


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[2Jgone", "\\u001b[2Jgone"),
        ("\x9b2Jgone", "\\u009b2Jgone"),
        ("good\u202edab", "good\\u202edab"),
        ("half \ud800", "half \\ud800"),
        ("line\r\nnext", "line\\r\nnext"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_warning_48_what_steers_a_terminal_or_turns_words_around_is_shown_as_an_escape(said, shown):
    assert render(said) == shown
    assert render({"asked": said}) == '{\n  "asked": ' + json.dumps(said, ensure_ascii=True) + "\n}"


@pytest.mark.parametrize("text", ["naïve", "10\u00a0€", "日本語\u3000です", "👩\u200d🚀", "tab\tand\nline", "Ω≈ç"])
def test_what_people_write_is_shown_as_they_wrote_it(text):
    assert terminal_safe(text) == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_an_answer_that_is_made_harmless_is_the_same_answer(value):
    text = terminal_safe(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    text.encode()


ROWS = [{"id": "ag-0123456789ab", "text": "x" * 90, "at": "2026-11-22T20:30:30.458Z"}]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_fits_the_terminal_and_ids_stay_whole(width):
    lines = render(ROWS, width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[2].startswith("ag-0123456789ab  x")


def test_what_was_cut_shows_it():
    assert "x…" in render(ROWS, 80)
    assert "…" not in render(ROWS, 200)


def test_nothing_is_cut_where_nobody_looks():
    assert "x" * 90 in render(ROWS)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(1, 200))
def test_a_table_is_only_as_wide_as_it_must_be(lengths, width):
    row = {f"c{number}": "x" * length for number, length in enumerate(lengths)}
    widest = max(map(len, render([row], width).splitlines()))
    natural = sum(max(len(name), len(text)) for name, text in row.items()) + 2 * (len(row) - 1)
    assert widest <= max(width, 18 * len(row)) or widest == natural
