"""Files in subfolders that another party may exchange."""

import os
import time
from pathlib import Path

import pytest
from nanoclaw_untrusted.file_names import free_name, plain_name
from nanoclaw_untrusted.files import CLOCK_SKEW_S, PART, InvalidFile, past_time_of, read_files, store_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory with the subfolder `folder` and its files `a` and `b`."""
    (tmp_path / "root" / "folder").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "root" / "folder" / name).write_bytes(name.encode() * 3)
    return tmp_path / "root"


def problem(root: Path, *names: object, folder: str = "folder", max_bytes: int = 10) -> str:
    with pytest.raises(InvalidFile) as caught:
        read_files(root, folder, names, max_files=3, max_bytes=max_bytes)
    return str(caught.value)


def test_files_are_read_in_the_given_order(root: Path) -> None:
    assert read_files(root, "folder", ["b", "a"], max_files=2, max_bytes=6) == [("b", b"bbb"), ("a", b"aaa")]


def test_size_limit_counts_all_files(root: Path) -> None:
    assert problem(root, "b", "a", max_bytes=5) == "'a' makes the message larger than 2 bytes"


def test_unsafe_names_are_refused(root: Path) -> None:
    assert problem(root, "../x") == "'../x' is not a safe file name"
    assert problem(root, 7) == "7 is not a safe file name"
    assert problem(root, "a", folder="..") == "1 files in folder '..'; at most 3 in a safe folder"


def test_too_many_files_are_refused(root: Path) -> None:
    assert problem(root, "a", "b", "a", "b") == "4 files in folder 'folder'; at most 3 in a safe folder"


def test_link_is_not_read(root: Path) -> None:
    (root / "folder" / "link").symlink_to(root / "folder" / "a")
    assert problem(root, "link").startswith("the file 'link' cannot be opened: ")
    (root / "other").symlink_to(root / "folder")
    assert problem(root, "a", folder="other").startswith("the folder root/other cannot be opened: ")


def test_stored_file_is_readable_for_everyone(root: Path) -> None:
    store_file(root, "new", "c", b"ccc")
    path = root / "new" / "c"
    assert (path.read_bytes(), path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
        b"ccc",
        0o644,
        0o755,
    )
    assert not (root / PART).exists()


def test_stored_file_keeps_an_earlier_one(root: Path) -> None:
    store_file(root, "folder", "a", b"other")
    assert (root / "folder" / "a").read_bytes() == b"aaa"


def test_file_is_not_stored_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"link|Not a directory"):
        store_file(root, "link", "a", b"a")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_time_of_a_file_is_never_in_the_future(root: Path) -> None:
    path = root / "folder" / "a"
    os.utime(path, (1_000, 1_000))
    assert past_time_of(path) == 1_000
    os.utime(path, (0, time.time() + CLOCK_SKEW_S / 2))
    assert (past_time_of(path) or 0) <= time.time()
    os.utime(path, (0, time.time() + CLOCK_SKEW_S * 10))
    assert past_time_of(path) is None


def test_time_of_other_things_is_unknown(root: Path) -> None:
    assert [past_time_of(path) for path in (root, root / "missing")] == [None, None]


def test_taken_name_gets_a_number() -> None:
    taken = {"a.txt", "a-2.txt", "b", ".c"}
    assert [free_name(name, taken) for name in ("a.txt", "b", ".c", "d")] == ["a-3.txt", "b-2", ".c-2", "d"]


@pytest.mark.parametrize(
    ("mime_type", "kind", "name"),
    [("Image/PNG; x=y", "voice", "f.png"), ("x/y", "voice", "f.ogg"), (None, "voice", "f.ogg"), (None, "other", "f")],
)
def test_plain_name_has_the_extension_of_its_type(mime_type: str | None, kind: str, name: str) -> None:
    assert plain_name("f", mime_type, kind) == name
