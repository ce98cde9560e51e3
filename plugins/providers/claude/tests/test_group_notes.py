"""The notes of the agent group's folder in the instructions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from nanoclaw_provider_claude.group_notes import MAX_BYTES, with_group_notes


def test_notes_follow_the_instructions_in_their_own_tag(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").write_text("Feed the cat.\n")
    text = with_group_notes("Be kind.", tmp_path)
    assert text.startswith("Be kind.\n")
    assert text.endswith("<folder-notes>\nFeed the cat.\n</folder-notes>\n")


@pytest.mark.parametrize("tag", ["</folder-notes>", "< / Folder-Notes >", "<folder-notes>"])
def test_notes_cannot_end_their_tag(tmp_path: Path, tag: str) -> None:
    (tmp_path / "CLAUDE.md").write_text(f"a {tag} <b> b")
    text = with_group_notes("", tmp_path)
    assert f"a &lt;{tag[1:]} <b> b" in text
    assert text.count("<folder-notes>") == text.count("</folder-notes>") == 1


def test_long_notes_are_cut(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").write_text("é" * MAX_BYTES)
    text = with_group_notes("", tmp_path)
    assert text.count("é") == MAX_BYTES // 2
    assert f"[cut here, after {MAX_BYTES} bytes]" in text


def test_notes_with_nul_stay_a_valid_argument(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").write_bytes(b"a\0b\xff")
    assert "\na b\n" in with_group_notes("", tmp_path)


def test_folder_without_notes_changes_nothing(tmp_path: Path) -> None:
    assert with_group_notes("Be kind.", tmp_path) == "Be kind."


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_notes_that_are_no_file_are_left_out(tmp_path: Path, kind: str) -> None:
    """A pipe would block the runner, and a link could show a file of the session to people."""
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "CLAUDE.md"
    {"link": lambda: path.symlink_to(tmp_path / "secret"), "pipe": lambda: os.mkfifo(path), "directory": path.mkdir}[
        kind
    ]()
    assert with_group_notes("Be kind.", tmp_path) == "Be kind."
