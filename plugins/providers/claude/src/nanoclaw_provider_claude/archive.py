"""Keeps a readable copy of a conversation before claude replaces it by a summary."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

FOLDER = "conversations"
MAX_CHARACTERS = 2_000  # of one message
MAX_SLUG_CHARACTERS = 50


def archive_transcript(transcript: Path, working_directory: Path, now: datetime) -> Path | None:
    """Write a conversation to `conversations/<date>-<slug>.md`.

    The slug is the conversation's summary, or the time if it has none.

    Args:
        transcript: The program's own file, with one JSON object on each line.
        working_directory: The directory of the folder `conversations`.
        now: The time of the copy, in UTC.

    Returns:
        The file, or None if the conversation has no messages yet.
    """
    entries = list(_entries(transcript))
    messages = [(speaker, text) for entry in entries for speaker, text in _texts(entry)]
    if not messages:
        return None
    summary = next((entry["summary"] for entry in reversed(entries) if isinstance(entry.get("summary"), str)), "")
    folder = working_directory / FOLDER
    folder.mkdir(exist_ok=True)
    path = _unused_path(folder, f"{now:%Y-%m-%d}-{_slug(summary) or f'conversation-{now:%H%M}'}")
    path.write_text(_markdown(summary or "Conversation", now, messages), encoding="utf-8")
    return path


def _entries(transcript: Path) -> Iterator[Mapping[str, Any]]:
    with transcript.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the program may still be writing the last line
            if isinstance(entry, dict):
                yield entry


def _texts(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    message = entry.get("message")
    if entry.get("type") not in ("user", "assistant") or not isinstance(message, dict) or entry.get("isMeta"):
        return
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    text = "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text").strip()
    if text:
        yield ("User" if entry["type"] == "user" else "Assistant"), text


def _slug(summary: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", summary.lower()).strip("-")[:MAX_SLUG_CHARACTERS].rstrip("-")


def _unused_path(folder: Path, name: str) -> Path:
    """Return an unused path, because a conversation may be compacted twice in one minute."""
    path, count = folder / f"{name}.md", 2
    while path.exists():
        path, count = folder / f"{name}-{count}.md", count + 1
    return path


def _markdown(title: str, now: datetime, messages: list[tuple[str, str]]) -> str:
    parts = [f"# {title}", f"Archived: {now:%Y-%m-%d %H:%M} UTC", "---"]
    parts += [f"**{speaker}**: {_shortened(text)}" for speaker, text in messages]
    return "\n\n".join(parts) + "\n"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
