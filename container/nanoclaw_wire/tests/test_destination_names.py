"""Destination names: letters of every script, and one spelling for each name."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_wire.destination_names import MAX_CHARACTERS, canonical, destination_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The Garden (2)", "the-garden-2"),
        ("परिवार", "परिवार"),
        ("की", "की"),
        ("का", "का"),
        ("ครอบครัว", "ครอบครัว"),
        ("น้ำ", "น้ำ"),
        ("Straße", "straße"),
        ("Ærø & Ødegård", "ærø-ødegård"),
        ("עִבְרִית", unicodedata.normalize("NFC", "עִבְרִית")),
        ("قناة العائلة", "قناة-العائلة"),
        ("தமிழ் குழு", "தமிழ்-குழு"),
        ("家族", "家族"),
        ("Việt Nam", "việt-nam"),
        ("Пётр и семья", "пётр-и-семья"),
        ("İstanbul", "i̇stanbul"),
    ],
)
@pytest.mark.invariant(number=15)
def test_destination_name_keeps_the_letters_of_a_script(text: str, name: str) -> None:
    """Two rooms may differ only in vowel signs and letters outside ASCII."""
    assert destination_name(text) == name


@pytest.mark.parametrize("text", ["", "🎉🎉", "❤️", "---", "👨‍👩‍👧", "\u0301", "\u3164", "\u200f"])
def test_destination_name_without_letters_is_chat(text: str) -> None:
    """A model cannot write a name of emoji, signs and invisible characters."""
    assert destination_name(text) == "chat"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", "Cafe\u0301"),
        ("CAFÉ", "café"),
        ("می‌خواهم", "میخواهم"),
        ("ക്ഷ\u200dമ", "ക്ഷമ"),
        ("\u202bמשפחה\u202c", "משפחה"),
        ("a\ufe0fb", "ab"),
    ],
)
def test_destination_name_merges_lookalikes(one: str, other: str) -> None:
    """Composition, case and invisible characters do not make two names."""
    assert destination_name(one) == destination_name(other)


def test_destination_name_keeps_sharp_s() -> None:
    """Case folding would merge two rooms."""
    assert destination_name("Straße") != destination_name("Strasse")


@pytest.mark.parametrize("before", range(MAX_CHARACTERS - 3, MAX_CHARACTERS + 1))
def test_destination_name_is_cut_between_letters(before: int) -> None:
    """The last letter never loses its vowel sign."""
    name = destination_name("a" * before + "पि" * 4)
    assert len(name) <= MAX_CHARACTERS
    assert not name.endswith("प")


def test_destination_name_with_many_marks_is_cut() -> None:
    """The length of a name is bounded, even if all marks belong to its only letter."""
    assert len(destination_name("a" + "\u0332" * 500)) == MAX_CHARACTERS


@given(st.text(max_size=200))
def test_destination_name_is_canonical_and_safe(text: str) -> None:
    """A name stays the same if it is looked up or made again, and cannot end an attribute of a prompt."""
    name = destination_name(text)
    assert canonical(name) == name == destination_name(name)
    assert 1 <= len(name) <= MAX_CHARACTERS
    assert {unicodedata.category(c)[0] for c in name if c != "-"} <= {"L", "M", "N"}
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert "--" not in name
