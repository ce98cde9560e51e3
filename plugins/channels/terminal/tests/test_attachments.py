"""Files by path."""

from __future__ import annotations

import pytest
from nanoclaw_channel_terminal.attachments import join_words, take_files

from nanoclaw_core import InvalidArguments


def test_a_word_with_an_at_sign_attaches_the_file_and_keeps_its_name(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"n")
    text, files = take_files("what is in @notes.txt ?", tmp_path)
    assert (text, [(file.name, file.content, file.mime_type) for file in files]) == (
        "what is in notes.txt ?",
        [("notes.txt", b"n", "text/plain")],
    )


def test_a_text_that_is_only_files_becomes_empty(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a")
    text, files = take_files("@a.txt @a.txt", tmp_path)
    assert (text, len(files)) == ("", 2)


def test_a_quoted_path_may_have_spaces(tmp_path):
    (tmp_path / "my notes.txt").write_bytes(b"n")
    assert take_files('read @"my notes.txt" now', tmp_path)[0] == "read my notes.txt now"


def test_a_word_of_the_command_line_may_be_a_path_with_spaces(tmp_path):
    (tmp_path / "my notes.txt").write_bytes(b"n")
    text, files = take_files(join_words(["read", "@my notes.txt"], tmp_path), tmp_path)
    assert (text, [file.name for file in files]) == ("read my notes.txt", ["my notes.txt"])


def test_a_doubled_at_sign_is_a_plain_one(tmp_path):
    assert take_files("ask @@alice", tmp_path) == ("ask @alice", [])


def test_an_at_sign_inside_a_word_is_no_file(tmp_path):
    assert take_files("write to ada@example.org", tmp_path) == ("write to ada@example.org", [])


def test_a_file_that_is_not_there_is_said_with_what_to_do(tmp_path):
    with pytest.raises(InvalidArguments, match=r"no file nothing\.txt; write @@nothing\.txt where you mean the words"):
        take_files("see @nothing.txt", tmp_path)
