"""Names of destinations: the letters of every script, and one spelling a name."""

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
    """Vowel signs and letters outside ASCII make the difference between two rooms."""
    assert destination_name(text) == name


@pytest.mark.parametrize("text", ["", "🎉🎉", "❤️", "---", "👨‍👩‍👧", "\u0301", "\u3164", "\u200f"])
def test_destination_name_without_letters_is_chat(text: str) -> None:
    """Emoji, signs and characters without a shape are no name that a model can write."""
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
def test_spellings_that_look_alike_are_one_name(one: str, other: str) -> None:
    """Composition, case and invisible characters do not tell two rooms apart."""
    assert destination_name(one) == destination_name(other)


def test_strasse_and_its_sharp_s_are_two_names() -> None:
    """Case folding would make two rooms one."""
    assert destination_name("Straße") != destination_name("Strasse")


@pytest.mark.parametrize("before", range(MAX_CHARACTERS - 3, MAX_CHARACTERS + 1))
def test_a_long_name_is_cut_between_letters(before: int) -> None:
    """A letter at the end never stands there without its vowel sign."""
    name = destination_name("a" * before + "पि" * 4)
    assert len(name) <= MAX_CHARACTERS
    assert not name.endswith("प")


def test_a_letter_with_too_many_marks_is_cut_short() -> None:
    """A name is bounded, whatever is piled on its only letter."""
    assert len(destination_name("a" + "\u0332" * 500)) == MAX_CHARACTERS


@given(st.text(max_size=200))
def test_a_destination_name_is_canonical_and_safe(text: str) -> None:
    """A name means itself, whether it is looked up or made again, and ends no attribute of a prompt."""
    name = destination_name(text)
    assert canonical(name) == name == destination_name(name)
    assert 1 <= len(name) <= MAX_CHARACTERS
    assert {unicodedata.category(c)[0] for c in name if c != "-"} <= {"L", "M", "N"}
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert "--" not in name
