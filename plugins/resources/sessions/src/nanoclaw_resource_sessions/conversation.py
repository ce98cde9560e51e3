"""Reads the messages of a conversation.

Incoming ones come from the session's inbox, outgoing ones from its deliveries.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from nanoclaw_wire import inbound, session_files
from nanoclaw_wire.content import Malformed, read_message
from nanoclaw_wire.inbound import InboundMessage, Kind
from nanoclaw_wire.labels import exact, label
from nanoclaw_wire.layout import Layout
from nanoclaw_wire.names import SESSIONS

from nanoclaw_core import InvalidArguments, NanoclawError, SessionId
from nanoclaw_resource_sessions import rows

MAX_TEXT_CHARACTERS = 10_000  # a message may be a megabyte
MAX_READ_CHARACTERS = 10_000_000  # in each direction, because the host does nothing else meanwhile


def messages(db: apsw.Connection, home: Path, session_id: SessionId, limit: int) -> Sequence[dict[str, Any]]:
    """Return the latest messages of a session, oldest first.

    Returns:
        Dicts with `at`, `number`, `direction`, `who`, `text` and `status`. The agent sees the same numbers.

    Raises:
        InvalidArguments: The messages are too long to be read at once.
        NanoclawError: The inbox of the session cannot be read.
    """
    incoming, outgoing = _incoming(home, session_id, limit), _outgoing(db, session_id, limit)
    answered = rows.answered(db, session_id)
    for message in incoming:  # the host copies the runner's acknowledgement into the row some time later
        if message.pop("correlation_id") in answered and message["status"] == "pending":
            message["status"] = "answered"
    return sorted([*incoming, *outgoing], key=lambda message: (message["at"], message["number"]))[-limit:]


def _incoming(home: Path, session_id: SessionId, limit: int) -> list[dict[str, Any]]:
    path = Layout.below(home / SESSIONS / session_id).inbound_db
    try:
        # Use the default VFS: it shares one descriptor per file. Closing a second descriptor of the file would drop the
        # locks of the host's writer.
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            db.set_busy_timeout(session_files.BUSY_TIMEOUT_MS)
            size, incoming = 0, []
            for message in inbound.latest(db, limit):
                size = _counted(size, message.content)
                if message.kind is not Kind.SYSTEM:
                    incoming.append(_as_dict(message))
    except apsw.Error as error:
        raise NanoclawError(f"sessions: the messages of {session_id} cannot be read: {error}") from error
    return incoming


def _counted(size: int, content: str) -> int:
    """Return the size with this content. Raise InvalidArguments if too much is read."""
    size += len(content)
    if size > MAX_READ_CHARACTERS:
        fault = f"the latest messages have more than {MAX_READ_CHARACTERS} characters"
        raise InvalidArguments(f"sessions messages: {fault}. Ask for a smaller --limit")
    return size


def _as_dict(message: InboundMessage) -> dict[str, Any]:
    content = json.loads(message.content)  # valid, because the host wrote it
    return {
        "at": message.at,
        "number": message.seq,
        "direction": "in",
        "who": _writer(message, content),
        "text": str(content.get("text") or "")[:MAX_TEXT_CHARACTERS],
        "status": message.status.value,
        "correlation_id": message.correlation_id,
    }


def _writer(message: InboundMessage, content: Mapping[str, Any]) -> str:
    """Return the host, or a person's name with the user id, because people choose their names themselves."""
    if message.is_host_note:
        return "nanoclaw"
    user_id = exact(str(content.get("sender_id") or "unidentified"))
    name = label(str(content.get("sender") or ""))
    return f"{name} ({user_id})" if name else user_id


def _outgoing(db: apsw.Connection, session_id: SessionId, limit: int) -> list[dict[str, Any]]:
    size, outgoing = 0, []
    for at, number, kind, content, status in rows.sent(db, session_id, limit):
        size = _counted(size, content)
        message = {"at": at, "number": number, "direction": "out", "who": "agent", "text": _text_of(kind, content)}
        outgoing.append(message | {"status": status})
    return outgoing


def _text_of(kind: str, content: str) -> str:
    """Return the text of an agent's message.

    Its content comes from a sandbox, so it may be invalid.
    """
    try:
        message = read_message(kind, content)
    except Malformed as error:
        return f"({error})"
    if message.card is not None:
        return f"{message.card.title} {message.card.text}".strip()[:MAX_TEXT_CHARACTERS]
    files = "".join(f" [{name}]" for name in message.file_names)
    return f"{message.text or message.emoji or ''}{files}"[:MAX_TEXT_CHARACTERS]
