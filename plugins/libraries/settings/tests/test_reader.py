"""A TOML file, and values that a person wrote."""

from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from nanoclaw_settings.errors import NeedsSettings, SettingsError
from nanoclaw_settings.reader import Reader
from nanoclaw_settings.values import as_number, as_word


@frozen(kw_only=True)
class Place:
    """A table with a required key."""

    room: str
    inner: list[Any] = field(factory=list)


def reader(folder: Path, text: str = "", incomplete: str | None = None) -> Reader:
    (folder / "some.toml").write_text(text)
    return Reader(file=folder / "some.toml", environment={}, incomplete=incomplete)


def test_file_is_loaded(tmp_path: Path) -> None:
    assert reader(tmp_path, "[a]\nb = 1").load("a", "c") == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[b]", "b: unknown key"),
        ("a = ", "{file} cannot be read: Invalid value"),
        ("a = " + "[" * 22 + "]" * 22, "some.toml: must not nest tables and lists more than 20 levels deep"),
    ],
)
def test_invalid_file_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(SettingsError) as caught:
        reader(tmp_path, text).load("a")
    assert caught.value.fault.startswith(fault.format(file=tmp_path / "some.toml"))


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Reader(file=tmp_path / "missing.toml", environment={}).load()


def test_only_an_incomplete_table_needs_settings(tmp_path: Path) -> None:
    with pytest.raises(NeedsSettings, match=r"^set \[a\] room$"):
        reader(tmp_path, incomplete="a").read({}, Place, "a")
    with pytest.raises(SettingsError, match=r"^b.room: must be set\. Fix it in ") as caught:
        reader(tmp_path, incomplete="a").read({}, Place, "b")
    assert not isinstance(caught.value, NeedsSettings)


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [(int, "7", 7), (float, "0.5", 0.5), (float, 1, 1.0), (int, True, None), (float, "nan", None), (int, "x", None)],
)
def test_number_is_read_from_text(kind: type, value: object, number: float | None) -> None:
    assert as_number(kind, value) == number


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        (bool, "Yes", True),
        (bool, "0", False),
        (bool, "maybe", None),
        (str, "a", "a"),
        (str, "\ud800", None),
        (str, 1, None),
    ],
)
def test_word_is_read_from_text(kind: type, value: object, word: object) -> None:
    assert as_word(kind, value) == word
