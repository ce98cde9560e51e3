"""Reads the content of inbound rows, whatever is in it (⚠41, ⚠58): nothing here raises, and every text is a str."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from nanoclaw_wire.outbound import TEXT_AT_MOST

CUT_OFF = "\n[cut off here: the message was too long]"


@frozen(kw_only=True)
class Quote:
    """The message that a message replies to; empty texts where the platform did not tell."""

    id: str = ""
    sender: str = ""
    text: str = ""


@frozen(kw_only=True)
class File:
    """A file that came with a message; `path` is below `in/`, empty where it was not saved."""

    kind: str = "file"
    name: str = "attachment"
    path: str = ""
    url: str = ""


def read(text: str) -> Mapping[str, Any] | None:
    """Return the JSON object, or None where the text is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_text(value: object) -> str:
    """Return a value as text that can be encoded: a str as it is, nothing as empty, anything else as JSON."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean(text)


def clean(text: str) -> str:
    """Replace what no encoder takes: halves of surrogate pairs, and NUL."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def sendable(text: str) -> str:
    """Return a text as the host takes it: clean, and cut off where it is longer than any message may be."""
    text = clean(text)
    return text if len(text) <= TEXT_AT_MOST else text[: TEXT_AT_MOST - len(CUT_OFF)] + CUT_OFF


def sender(content: Mapping[str, Any]) -> str:
    """Return who wrote, or `Unknown`."""
    author = content.get("author")
    author = author if isinstance(author, dict) else {}
    candidates = (content.get("sender"), author.get("full_name"), author.get("user_name"))
    return next((as_text(name) for name in candidates if as_text(name)), "Unknown")


def quote(content: Mapping[str, Any]) -> Quote:
    """Return what the message replies to; all empty where it does not."""
    found = content.get("reply_to")
    if not isinstance(found, dict):
        return Quote()
    return Quote(id=as_text(found.get("id")), sender=as_text(found.get("sender")), text=as_text(found.get("text")))


def files(content: Mapping[str, Any]) -> list[File]:
    """Return the attachments; entries that are no objects are left out."""
    found = content.get("attachments")
    return [
        File(
            kind=as_text(entry.get("type")) or "file",
            name=as_text(entry.get("name")) or "attachment",
            path=as_text(entry.get("path")),
            url=as_text(entry.get("url")),
        )
        for entry in (found if isinstance(found, list) else ())
        if isinstance(entry, dict)
    ]
