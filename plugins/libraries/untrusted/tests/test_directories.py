"""Directories by their identity."""

from pathlib import Path

import pytest
from nanoclaw_untrusted.directories import DirectoryIdentity, Position, is_nested, lineage_of, position_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a directory with a part."""
    (tmp_path / "home" / "part" / "deep").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("home", Position.SAME),
        ("home/part", Position.BELOW),
        ("home/part/deep", Position.BELOW),
        (".", Position.ABOVE),
        ("beside", None),
    ],
)
def test_position_is_relative_to_the_directory(home: Path, name: str, position: Position | None) -> None:
    assert position_of(lineage_of((home.parent / name).resolve()), home) is position


def test_missing_directory_has_no_position(home: Path) -> None:
    assert position_of(lineage_of(home), home / "missing") is None


def test_only_directories_above_each_other_are_nested(home: Path) -> None:
    above, same, beside = (lineage_of(path) for path in (home / "part", home, home.parent / "beside"))
    assert [is_nested(same, other) for other in (above, same, beside)] == [True, False, False]


def test_path_with_a_link_has_no_lineage(home: Path) -> None:
    (home / "link").symlink_to(home / "part")
    with pytest.raises(OSError, match="link"):
        lineage_of(home / "link")
    with pytest.raises(OSError, match="link"):
        lineage_of(home / "link" / "deep")


def test_identity_is_read_from_its_text() -> None:
    identity = DirectoryIdentity(device=1, inode=2, boot="b")
    assert DirectoryIdentity.from_text(identity.to_text()) == identity
    with pytest.raises(ValueError, match="must be device:inode:boot, got '1:2'"):
        DirectoryIdentity.from_text("1:2")


@pytest.mark.parametrize(
    ("device", "inode", "boot", "matches"),
    [(1, 2, "b", True), (9, 2, "c", True), (9, 2, "b", False), (1, 9, "c", False)],
)
def test_identity_of_another_boot_matches_by_its_inode(device: int, inode: int, boot: str, matches: bool) -> None:
    approved = DirectoryIdentity(device=1, inode=2, boot="b")
    assert DirectoryIdentity(device=device, inode=inode, boot=boot).matches_approved(approved) is matches
