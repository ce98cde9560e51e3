"""Formatting of answers for people."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_client.rendering import render
from nanoclaw_client.terminal_text import MAX_BLANKS, terminal_safe, visible_json


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("text\non two lines", "text\non two lines"),
        ([], "(no rows)"),
        (None, ""),
        (7, "7"),
        ({"a": 1}, '{\n  "a": 1\n}'),
        (["a"], '[\n  "a"\n]'),
        ([{"a": [1]}], '[\n  {\n    "a": [\n      1\n    ]\n  }\n]'),
    ],
)
def test_render_data_that_is_no_table(data, shown):
    assert render(data) == shown


def test_render_flat_records_as_a_table():
    rows = [{"id": "ag-1", "name": "Ada", "on": True}, {"id": "ag-22", "name": None, "on": False}]
    assert render(rows).splitlines() == [
        "id     name  on",
        "─────  ────  ─────",
        "ag-1   Ada   true",
        "ag-22        false",
    ]


def test_render_shows_a_column_of_a_later_record():
    assert render([{"a": 1}, {"a": 2, "b": 3}]).splitlines()[0] == "a  b"


def test_render_cell_has_no_line_break_or_escape():
    assert render([{"a": "x\ny\x1b[2J"}]).splitlines()[2] == "x y [2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\u001b[2Jgone"),
        ("\x9b2Jgone", "\\u009b2Jgone"),
        ("good\u202edab", "good\\u202edab"),
        ("half \ud800", "half \\ud800"),
        ("line\r\nnext", "line\\r\nnext"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
@pytest.mark.defect(number=48)
def test_render_escapes_terminal_control_characters(text, shown):
    """Characters that control a terminal or change the text direction appear as escapes."""
    assert render(text) == shown
    assert render({"asked": text}) == '{\n  "asked": ' + json.dumps(text, ensure_ascii=True) + "\n}"


@pytest.mark.parametrize("text", ["naïve", "10\u00a0€", "日本語\u3000です", "👩\u200d🚀", "tab\tand\nline", "Ω≈ç"])
def test_terminal_safe_keeps_ordinary_text(text):
    assert terminal_safe(text) == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_terminal_safe_json_keeps_its_value(value):
    for escape in (terminal_safe, visible_json):
        text = escape(json.dumps(value, ensure_ascii=False))
        assert json.loads(text) == value
        text.encode()


HIDDEN = "\u3164\u2800\u200b\u200d\u202e\u00a0\u3000\ufeff\u00ad\u115f\uffa0\u034f\ufe00\U000e0100\U000e0041"


@pytest.mark.parametrize("character", HIDDEN)
def test_render_shows_invisible_characters(character):
    escape = json.dumps(character)[1:-1]
    assert render({"asked": f"a{character}b"}) == f'{{\n  "asked": "a{escape}b"\n}}'
    assert character not in render([{"asked": f"a{character}b"}])


@pytest.mark.parametrize("text", ["❤️", "naïve", "日本語です", "    indented", "1\t2"])
def test_render_keeps_visible_text_in_json(text):
    assert json.loads(render({"a": text})) == {"a": text}
    assert "\\u" not in render({"a": text})


@pytest.mark.parametrize(
    ("blanks", "shown"),
    [
        (" " * 3000, "[3000 spaces]"),
        ("\t" * 3000, "[3000 blank characters]"),
        ("\u3164 \u2800\n" * 30, "[120 blank characters]"),
        (" " * MAX_BLANKS, " " * MAX_BLANKS),
    ],
)
def test_render_counts_long_runs_of_blanks(blanks, shown):
    assert render({"args": [f"ls{blanks}; rm -rf /"]}).splitlines()[2] == f'    "ls{shown}; rm -rf /"'
    assert render([{"args": f"ls{blanks}; rm -rf /"}]).splitlines()[2] == f"ls{shown}; rm -rf /"


def test_render_of_similar_keys_hides_no_item():
    shown = render({" " * 30: "one", "\u3164" * 30: "two", "\u2800" * 30: "three"})
    assert all(word in shown for word in ("one", "two", "three"))


ROWS = [{"id": "ag-0123456789ab", "text": "x" * 90, "at": "2026-11-22T20:30:30.458Z"}]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_render_table_fits_and_keeps_ids_whole(width):
    lines = render(ROWS, width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[2].startswith("ag-0123456789ab  x")


def test_render_marks_a_cut_cell():
    assert "x…" in render(ROWS, 80)
    assert "…" not in render(ROWS, 200)


def test_render_without_width_cuts_nothing():
    assert "x" * 90 in render(ROWS)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(1, 200))
def test_render_table_is_as_narrow_as_possible(lengths, width):
    row = {f"c{number}": "x" * length for number, length in enumerate(lengths)}
    widest = max(map(len, render([row], width).splitlines()))
    natural = sum(max(len(name), len(text)) for name, text in row.items()) + 2 * (len(row) - 1)
    assert widest <= max(width, 18 * len(row)) or widest == natural
