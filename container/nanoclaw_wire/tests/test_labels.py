"""Labels: foreign names as one visible line, and foreign ids that stay different."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.labels import IGNORED, MAX_CHARACTERS, exact, file_label, label
from nanoclaw_wire.layout import is_safe_name

ODD = "\n\t\x00\x1b\u2028\u2029\u200b\u202e\u3164\u2800\u115f\u1160\uffa0\ufe0f\u0301\U000e0041\ud83d\U0001f1e9 a\\"
NAMES = st.text(st.one_of(st.characters(), st.sampled_from(ODD)), max_size=300)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ann  \t\n O'Hara", "Ann O'Hara"),
        ("a\u2028b\u0085c\u00a0d\x1be\x00f", "a b c d e f"),
        ("B\u200bo\u202eb\u2066\ufeff", "Bob"),
        ("a\u3164\u2800\u115f\u1160\uffa0b", "a b"),
        ("x\ufe0f\U000e0100\U000e0041\u034f", "x"),
        ("Ada\ud83d", "Ada?"),
        ("परिवार کی 家族 Việt", "परिवार کی 家族 Việt"),
    ],
)
def test_label_is_one_visible_line(name: str, shown: str) -> None:
    assert label(name) == shown


@pytest.mark.parametrize("name", ["", "\u3164\u2800", "\u200b\u202e\n", "\u115f\ufe0f \U000e0041", "\u2800" * 300])
def test_label_of_an_invisible_name_is_empty(name: str) -> None:
    """The caller shows the id."""
    assert label(name) == ""


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("x" * 81, "x…"),
        ("x" * 78 + " y z", "x…"),
        ("x" * 78 + "e\u0301\u0301", "x…"),
        ("x" * 78 + "\U0001f1e9\U0001f1ea!", "x…"),
        ("x" * 78 + "\U0001f44d\U0001f3fd!", "x…"),
        ("x" + " " * 300 + "y", "x…"),
    ],
)
def test_label_is_cut_between_letters(name: str, ending: str) -> None:
    """A letter keeps its marks, a flag its halves and a hand its colour."""
    assert label(name).endswith(ending)
    assert len(label(name)) <= MAX_CHARACTERS


@given(NAMES)
def test_label_has_no_hidden_character(name: str) -> None:
    shown = label(name)
    assert len(shown) <= MAX_CHARACTERS
    assert {unicodedata.category(c) for c in shown}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert not set(shown) & {*"\u3164\u2800\u115f\u1160\uffa0", *IGNORED.replace("-", "")}
    assert label(shown) == shown == " ".join(shown.split())


@given(NAMES)
def test_file_label_is_no_path_and_fits_a_file_system(name: str) -> None:
    shown = file_label(name.replace("/", "").replace("\\", ""))
    assert shown in ("", ".", "..") or is_safe_name(shown) or not shown.isprintable()
    assert len(shown) <= MAX_CHARACTERS
    assert len(shown.encode()) <= 240


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\u202efdp.exe", "afdp.exe"),
        ("ä" * 200 + ".pdf", "ä" * 75 + "….pdf"),
        ("\U0001f600" * 200 + ".pdf", "\U0001f600" * 49 + "….pdf"),
        (".bashrc", ".bashrc"),
        ("\u3164.pdf", ""),
        ("note.\u200b", "note."),
        ("x" * 90 + ".not an extension", "x" * 79 + "…"),
    ],
)
def test_file_label_keeps_a_short_extension(name: str, shown: str) -> None:
    assert file_label(name) == shown


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("slack:U123", "slack:U123"),
        ("@ännä:example.org", "@ännä:example.org"),
        ("a\u200bb\n\u3164\\", r"a\u200bb\n\u3164\\"),
        ("half\ud83d", r"half\ud83d"),
    ],
)
def test_exact_escapes_what_is_hidden(identifier: str, shown: str) -> None:
    assert exact(identifier) == shown


@given(NAMES, NAMES)
def test_exact_keeps_two_ids_two(one: str, other: str) -> None:
    assert (exact(one) == exact(other)) is (one == other)
    assert exact(one).isprintable()
