"""What was said in a conversation: what came in from the host's own file, what went out from its deliveries."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
from nanoclaw_wire import inbound, layout, session_files
from nanoclaw_wire.content import Malformed, read_message
from nanoclaw_wire.inbound import InboundMessage, Kind

from nanoclaw_core import NanoclawError, SessionId
from nanoclaw_resource_sessions import rows

TEXT_SHOWN = 10_000  # characters; a message may be a megabyte


def messages(db: apsw.Connection, home: Path, session_id: SessionId, limit: int) -> Sequence[dict[str, Any]]:
    """Return the latest messages of a session, oldest first.

    Returns:
        `{at, number, direction, who, text, status}` each; the numbers are those that the agent sees.

    Raises:
        NanoclawError: The session's file cannot be read.
    """
    came, went = _came_in(home, session_id, limit), _went_out(db, session_id, limit)
    answered = rows.answered(db, session_id)
    for one in came:  # what a runner says is done is copied into its row some time later
        if one.pop("correlation_id") in answered and one["status"] == "pending":
            one["status"] = "answered"
    return sorted([*came, *went], key=lambda one: (one["at"], one["number"]))[-limit:]


def _came_in(home: Path, session_id: SessionId, limit: int) -> list[dict[str, Any]]:
    path = home / "sessions" / session_id / "in" / layout.INBOUND_DB
    try:
        # The system's own VFS: closing a second descriptor of the file would drop the locks of the host's writer.
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.set_busy_timeout(session_files.BUSY_TIMEOUT_MS)
            found = inbound.latest(db, limit)
    except apsw.Error as error:
        raise NanoclawError(f"the messages of {session_id} cannot be read: {error}") from error
    return [_as_seen(one) for one in found if one.kind is not Kind.SYSTEM]


def _as_seen(message: InboundMessage) -> dict[str, Any]:
    content = json.loads(message.content)  # the host wrote it
    return {
        "at": message.at,
        "number": message.seq,
        "direction": "in",
        "who": content.get("sender") or content.get("sender_id") or "",
        "text": str(content.get("text") or "")[:TEXT_SHOWN],
        "status": message.status.value,
        "correlation_id": message.correlation_id,
    }


def _went_out(db: apsw.Connection, session_id: SessionId, limit: int) -> list[dict[str, Any]]:
    return [
        {"at": at, "number": seq, "direction": "out", "who": "agent", "text": _said(kind, content), "status": status}
        for at, seq, kind, content, status in rows.sent(db, session_id, limit)
    ]


def _said(kind: str, content: str) -> str:
    """Return the text of what an agent wrote; a sandbox wrote it, so it may be anything."""
    try:
        message = read_message(kind, content)
    except Malformed as error:
        return f"({error})"
    if message.card is not None:
        return f"{message.card.title} {message.card.text}".strip()[:TEXT_SHOWN]
    files = "".join(f" [{name}]" for name in message.file_names)
    return f"{message.text or message.emoji or ''}{files}"[:TEXT_SHOWN]
