"""Attached files by path."""

from __future__ import annotations

import pytest
from nanoclaw_channel_terminal.attachments import extract_files, join_words

from nanoclaw_core import InvalidArguments


def test_extract_files_replaces_a_path_by_the_file_name(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"n")
    text, files = extract_files("summarise @notes.txt !", tmp_path)
    assert (text, [(file.name, file.content, file.mime_type) for file in files]) == (
        "summarise notes.txt !",
        [("notes.txt", b"n", "text/plain")],
    )


def test_extract_files_only_files_leave_an_empty_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a")
    text, files = extract_files("@a.txt @a.txt", tmp_path)
    assert (text, len(files)) == ("", 2)


def test_extract_files_quoted_path_may_have_spaces(tmp_path):
    (tmp_path / "my notes.txt").write_bytes(b"n")
    assert extract_files('read @"my notes.txt" now', tmp_path)[0] == "read my notes.txt now"


def test_join_words_quotes_a_path_with_spaces(tmp_path):
    (tmp_path / "my notes.txt").write_bytes(b"n")
    text, files = extract_files(join_words(["read", "@my notes.txt"], tmp_path), tmp_path)
    assert (text, [file.name for file in files]) == ("read my notes.txt", ["my notes.txt"])


def test_extract_files_doubled_at_sign_is_plain_text(tmp_path):
    assert extract_files("ask @@alice", tmp_path) == ("ask @alice", [])


def test_extract_files_ignores_an_at_sign_inside_a_word(tmp_path):
    assert extract_files("write to ada@example.org", tmp_path) == ("write to ada@example.org", [])


def test_extract_files_missing_file_is_an_error(tmp_path):
    with pytest.raises(InvalidArguments, match=r"@nothing\.txt: the file does not exist\. Write @@nothing\.txt if"):
        extract_files("see @nothing.txt", tmp_path)
