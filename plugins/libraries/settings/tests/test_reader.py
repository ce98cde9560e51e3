"""A TOML file, and values that a person wrote."""

import os
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from nanoclaw_settings.errors import NeedsSettings, SettingsError
from nanoclaw_settings.reader import MAX_VALUE_BYTES, Reader
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


def refusal(folder: Path, path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        reader(folder).read({"room": f"file:{path}"}, Place, "place")
    return str(caught.value)


def test_named_file_gives_the_value(tmp_path: Path) -> None:
    (tmp_path / "room").write_text("kitchen\n")
    (tmp_path / "link").symlink_to("room")
    assert reader(tmp_path).read({"room": "file:link"}, Place, "place").room == "kitchen"


def test_named_device_or_pipe_is_not_read(tmp_path: Path) -> None:
    """The first has no end, and the second would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        assert f"place.room: {path} cannot be read: it is not a regular file" in refusal(tmp_path, path)


def test_long_named_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * MAX_VALUE_BYTES)
    assert len(reader(tmp_path).read({"room": "file:long"}, Place, "place").room) == MAX_VALUE_BYTES
    (tmp_path / "long").write_bytes(b"x" * (MAX_VALUE_BYTES + 1))
    assert "long cannot be read: it has more than 65536 bytes" in refusal(tmp_path, tmp_path / "long")


def test_settings_file_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not a regular file"):
        Reader(file=Path("/dev/zero"), environment={}).load("a")
