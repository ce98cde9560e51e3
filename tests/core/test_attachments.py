"""Attachments of inbound messages: where they are stored, and under which names (⚠29, ⚠54, ⚠63)."""

import os
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_untrusted.files import PART
from nanoclaw_wire.layout import is_safe_name

from nanoclaw_core import Attachment
from nanoclaw_core.mailbox.attachments import file_name, store


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """Return a session's `in/` directory."""
    (tmp_path / "session" / "in" / "inbox").mkdir(parents=True)
    return tmp_path / "session" / "in"


def stored(
    incoming: Path, *attachments: Attachment, message_id: str = "in-1", limit: int = 1000
) -> list[dict[str, Any]]:
    return store(incoming, message_id, attachments, limit_bytes=limit)


@contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    """Lower one of this process's resource limits."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def file_size_limit(size_bytes: int) -> AbstractContextManager[None]:
    """Limit the size of each file.

    Python ignores the signal, so a write fails with EFBIG.
    """
    return limited(resource.RLIMIT_FSIZE, size_bytes)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Prevent this process from opening another file."""
    probe = os.dup(0)
    os.close(probe)
    with limited(resource.RLIMIT_NOFILE, probe):
        yield


def everything_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_attachment_is_stored_in_the_inbox_under_its_name(incoming: Path) -> None:
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello", mime_type="text/plain"))
    assert entry == {
        "name": "a.txt",
        "type": "file",
        "mime_type": "text/plain",
        "size_bytes": 5,
        "path": "inbox/in-1/a.txt",
    }
    assert (incoming / "inbox" / "in-1" / "a.txt").read_bytes() == b"hello"


def test_link_instead_of_message_folder_is_not_followed(incoming: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (incoming / "inbox" / "in-1").symlink_to(tmp_path / "outside")
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello"))
    assert entry["problem"] == "could not be stored"
    assert everything_below(tmp_path / "outside") == set()


def test_link_instead_of_attachment_file_is_not_followed(incoming: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    (incoming / "inbox" / "in-1").mkdir()
    (incoming / "inbox" / "in-1" / "a.txt").symlink_to(target)
    stored(incoming, Attachment(name="a.txt", content=b"hello"))
    assert target.read_text() == "untouched"


@pytest.mark.defect(number=29)
def test_link_instead_of_inbox_is_not_followed(incoming: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (incoming / "inbox").rmdir()
    (incoming / "inbox").symlink_to(tmp_path / "outside")
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello"))
    assert "problem" in entry
    assert everything_below(tmp_path / "outside") == set()


@pytest.mark.defect(number=54)
def test_dangling_link_loses_only_the_attachment(incoming: Path, tmp_path: Path) -> None:
    (incoming / "inbox" / "in-1").symlink_to(tmp_path / "nowhere")
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello"))
    assert entry == {"name": "a.txt", "type": "file", "size_bytes": 5, "problem": "could not be stored"}


@pytest.mark.parametrize("message_id", ["../evil", "..", ".", "a/b", "/tmp/x", "", "a\0b"])
def test_unsafe_message_id_creates_no_file(incoming: Path, tmp_path: Path, message_id: str) -> None:
    before = everything_below(tmp_path)
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello"), message_id=message_id)
    assert "problem" in entry
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("name", ["../../evil.txt", "/etc/passwd", "..", "", "a/b.txt", "a\\b.txt", "\0.txt"])
def test_unsafe_attachment_name_is_replaced(incoming: Path, tmp_path: Path, name: str) -> None:
    """The bytes are stored once, under the generated name."""
    (entry,) = stored(incoming, Attachment(name=name, content=b"hello", mime_type="text/plain"))
    assert entry["path"] == "inbox/in-1/attachment-1.txt"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [incoming / "inbox" / "in-1" / "attachment-1.txt"]


@pytest.mark.parametrize(
    ("kind", "mime_type", "name"),
    [
        ("file", "application/pdf", "attachment-3.pdf"),
        ("file", "TEXT/PLAIN; charset=utf-8", "attachment-3.txt"),
        ("voice", None, "attachment-3.ogg"),
        ("image", "application/x-unknown", "attachment-3.jpg"),
        ("file", None, "attachment-3"),
        ("file", "text/html", "attachment-3"),
    ],
)
def test_missing_name_is_made_from_kind_and_mime_type(kind: str, mime_type: str | None, name: str) -> None:
    assert file_name(Attachment(kind=kind, mime_type=mime_type), 3) == name


@pytest.mark.defect(number=63)
@pytest.mark.parametrize("reserved", ["constructor", "__proto__", "toString", "__class__", "keys", "get"])
def test_reserved_word_as_kind_adds_no_extension(reserved: str) -> None:
    """The name of a built-in property of an object does not get into the file name."""
    assert file_name(Attachment(kind=reserved, mime_type=reserved), 1) == "attachment-1"


def test_two_attachments_of_one_name_are_both_stored(incoming: Path) -> None:
    files = [Attachment(name="a.txt", content=content) for content in (b"1", b"2", b"3")]
    entries = stored(incoming, *files)
    assert [entry["name"] for entry in entries] == ["a.txt", "a-2.txt", "a-3.txt"]
    assert [(incoming / entry["path"]).read_bytes() for entry in entries] == [b"1", b"2", b"3"]


def test_repeated_message_keeps_the_first_copy(incoming: Path) -> None:
    first = stored(incoming, Attachment(name="a.txt", content=b"first"))
    stored(incoming, Attachment(name="a.txt", content=b"again"))
    assert (incoming / first[0]["path"]).read_bytes() == b"first"


@pytest.mark.defect(number=54)
def test_long_attachment_name_keeps_its_extension(incoming: Path) -> None:
    """A name that is too long for a file is shortened."""
    (entry,) = stored(incoming, Attachment(name="ä" * 125 + ".pdf", content=b"hello"))
    assert entry["name"].endswith("ä….pdf")
    assert (incoming / entry["path"]).read_bytes() == b"hello"


def test_large_attachment_loses_only_itself(incoming: Path) -> None:
    large, small = stored(
        incoming, Attachment(name="large", content=b"x" * 11), Attachment(name="small", content=b"x" * 10), limit=10
    )
    assert (large["problem"], large["size_bytes"]) == ("larger than 10 bytes", 11)
    assert "path" in small
    assert not (incoming / "inbox" / "in-1" / "large").exists()


def test_attachment_without_bytes_is_described(incoming: Path) -> None:
    (entry,) = stored(incoming, Attachment(name="a.txt", url="https://files.test/a.txt"))
    assert entry == {"name": "a.txt", "type": "file", "url": "https://files.test/a.txt"}
    assert everything_below(incoming / "inbox") == set()


def test_stored_attachment_is_readable_by_the_sandbox(incoming: Path) -> None:
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello"))
    path = incoming / entry["path"]
    assert path.stat().st_mode & 0o004 or os.umask(0o022) != 0o022
    assert path.parent.stat().st_mode & 0o005 == 0o005


@given(st.lists(st.builds(Attachment, name=st.text(), kind=st.text(), mime_type=st.none() | st.text()), max_size=6))
def test_attachment_names_are_safe_and_unique(attachments: list[Attachment]) -> None:
    entries = store(Path("/nowhere"), "in-1", attachments, limit_bytes=0)
    names = [entry["name"] for entry in entries]
    assert len(set(names)) == len(names)
    assert all(is_safe_name(name) for name in names)


def test_shortened_name_is_below_255_bytes() -> None:
    for extension in ("", ".pdf", "." + "ä" * 10, "." + "x" * 100):
        name = file_name(Attachment(name="日" * (85 - len(extension.encode()) // 3) + extension), 1)
        assert len(name.encode()) < 255
        assert is_safe_name(name)


def test_attachment_beyond_free_space_leaves_no_partial_file(incoming: Path) -> None:
    """A partial file never gets its final name; the next attempt stores all bytes."""
    message = Attachment(name="a.txt", content=b"x" * 8_192)
    with file_size_limit(4_096):
        (entry,) = stored(incoming, message, limit=10_000)
    assert (entry["problem"], everything_below(incoming / "inbox")) == ("could not be stored", {"in-1"})
    (entry,) = stored(incoming, message, limit=10_000)
    assert (incoming / entry["path"]).read_bytes() == b"x" * 8_192


def test_partial_file_of_a_killed_host_is_replaced(incoming: Path) -> None:
    """A host that was killed during a write leaves a partial file, which the next write replaces."""
    (incoming / "inbox" / PART).write_bytes(b"half")
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello"))
    assert (incoming / entry["path"]).read_bytes() == b"hello"
    assert everything_below(incoming / "inbox") == {"in-1", "in-1/a.txt"}


def test_link_instead_of_partial_file_is_not_followed(incoming: Path, tmp_path: Path) -> None:
    """A link under the temporary name does not lead a write out of the inbox."""
    (tmp_path / "target").write_text("untouched")
    (incoming / "inbox" / PART).symlink_to(tmp_path / "target")
    (entry,) = stored(incoming, Attachment(name="a.txt", content=b"hello"))
    assert (incoming / entry["path"]).read_bytes() == b"hello"
    assert (tmp_path / "target").read_text() == "untouched"


def test_too_many_open_files_reject_the_message(incoming: Path) -> None:
    """EMFILE is no property of the file, so the caller must not acknowledge the message."""
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        stored(incoming, Attachment(name="a.txt", content=b"hello"))
    assert everything_below(incoming / "inbox") == set()
