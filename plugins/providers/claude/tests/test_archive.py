"""The readable copy of a conversation before its compaction."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nanoclaw_provider_claude.archive import archive_transcript

NOW = datetime(2026, 1, 5, 15, 4, tzinfo=UTC)


def _transcript(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "transcript.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"type": "user", "mess', encoding="utf-8")
    return path


def _message(kind: str, content: object) -> dict[str, Any]:
    return {"type": kind, "message": {"role": kind, "content": content}}


def test_archive_is_named_by_date_and_summary(tmp_path: Path) -> None:
    summary = {"type": "summary", "summary": "Plans for: the Garden, and a very long list of vegetables to be sown"}
    path = archive_transcript(_transcript(tmp_path, summary, _message("user", "hello")), tmp_path, NOW)
    assert path == tmp_path / "conversations" / "2026-01-05-plans-for-the-garden-and-a-very-long-list-of-veget.md"


def test_archive_without_summary_is_named_by_time(tmp_path: Path) -> None:
    """A second copy in the same minute gets a number."""
    transcript = _transcript(tmp_path, _message("user", "hello"))
    names = [path.name for _ in range(2) if (path := archive_transcript(transcript, tmp_path, NOW)) is not None]
    assert names == ["2026-01-05-conversation-1504.md", "2026-01-05-conversation-1504-2.md"]


def test_archive_keeps_messages_and_cuts_long_ones(tmp_path: Path) -> None:
    blocks = [{"type": "text", "text": "x" * 3_000}, {"type": "tool_use", "name": "Bash", "input": {}}]
    transcript = _transcript(tmp_path, _message("user", "hello"), _message("assistant", blocks))
    path = archive_transcript(transcript, tmp_path, NOW)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    assert "**User**: hello" in text
    assert f"**Assistant**: {'x' * 2_000}…\n" in text


def test_archive_without_messages_writes_nothing(tmp_path: Path) -> None:
    assert archive_transcript(_transcript(tmp_path), tmp_path, NOW) is None
    assert not (tmp_path / "conversations").exists()
