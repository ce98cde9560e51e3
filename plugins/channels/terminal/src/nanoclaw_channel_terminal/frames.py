"""The frames on the terminal's socket: one JSON object per line.

From the terminal: `say` {id, text, files} and `seen` {id}.

To the terminal:
- `message`, with `is_kept` if no terminal was attached when it was sent, `is_failure` if it explains why there is no
  answer, and `files` with the `session` that they come from;
- `ready` after all stored messages;
- `accepted` {id, outcome, reason} for each `say`;
- `said` for a message from another terminal;
- `status` {text}, with an empty text if the agent is idle;
- `typing`, and `error` {message}.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from nanoclaw_core import Card, Outbound

MAX_ID_CHARACTERS = 100


@frozen(kw_only=True)
class TransferredFile:
    """A file in transfer, in either direction.

    The other side chose its name, which is untrusted.
    """

    name: str
    content: bytes = field(repr=False)
    mime_type: str | None = None


@frozen(kw_only=True)
class OperatorMessage:
    """A message that the operator typed.

    The client chooses `id`, so that a repeated message is detected.
    """

    id: str
    text: str
    files: Sequence[TransferredFile] = ()


@frozen(kw_only=True)
class SeenNotice:
    """The confirmation that a terminal has shown a message."""

    id: str


class BadFrame(Exception):
    """An invalid line. The message describes the fault."""


def encode(frame: Mapping[str, Any]) -> bytes:
    """Return a frame as a line of JSON."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def parse(raw: bytes) -> dict[str, Any]:
    """Parse a line.

    Raises:
        BadFrame: The line is no JSON object with a `type`.
    """
    try:
        frame = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"not JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame('a frame must be a JSON object with a "type"')
    return frame


def parse_terminal_frame(raw: bytes) -> OperatorMessage | SeenNotice:
    """Parse a line from a terminal.

    Raises:
        BadFrame: The line is no valid `say` or `seen` frame.
    """
    frame = parse(raw)
    kind, frame_id = frame["type"], frame.get("id")
    if not isinstance(frame_id, str) or not 0 < len(frame_id) <= MAX_ID_CHARACTERS:
        raise BadFrame(f"`id` must be a string of 1 to {MAX_ID_CHARACTERS} characters")
    if kind == "seen":
        return SeenNotice(id=frame_id)
    if kind != "say":
        raise BadFrame(f"`type` must be `say` or `seen`, got {kind!r}")
    text, files = frame.get("text", ""), frame.get("files", [])
    if not isinstance(text, str) or not isinstance(files, list):
        raise BadFrame("`text` must be a string and `files` a list")
    if not text.strip() and not files:
        raise BadFrame("the message has neither text nor files")
    return OperatorMessage(id=frame_id, text=text, files=[parse_file(item) for item in files])


def say_frame(message: OperatorMessage) -> dict[str, Any]:
    """Return the `say` frame of a message."""
    return {"type": "say", "id": message.id, "text": message.text, "files": [_file(file) for file in message.files]}


def parse_file(item: Any) -> TransferredFile:
    """Parse a file of a frame.

    Raises:
        BadFrame: The value is no valid file.
    """
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not isinstance(item.get("content"), str):
        raise BadFrame("a file must have a `name` and a `content` in base64")
    mime_type = item.get("mime_type")
    try:
        content = base64.b64decode(item["content"], validate=True)
    except ValueError as error:
        raise BadFrame(f"the file {item['name']!r} is not base64: {error}") from error
    return TransferredFile(
        name=item["name"], content=content, mime_type=mime_type if isinstance(mime_type, str) else None
    )


def message_frame(outbound: Outbound, session: str | None = None) -> dict[str, Any]:
    """Return the `message` frame of an outbound message.

    Args:
        outbound: The message.
        session: The id of the session that the files come from, or None if it is not known.
    """
    frame: dict[str, Any] = {"type": "message", "id": outbound.idempotency_key, "text": outbound.text}
    if outbound.files:
        frame["files"] = [_file(TransferredFile(name=file.name, content=file.content)) for file in outbound.files]
    if session is not None:
        frame["session"] = session
    if outbound.card is not None:
        frame["card"] = _card(outbound.card)
    if outbound.edit_of is not None:
        frame["is_edit"] = True
    if outbound.reaction_to is not None:
        frame["reaction"] = outbound.emoji or ""
    if outbound.is_failure:
        frame["is_failure"] = True
    return frame


def _file(file: TransferredFile) -> dict[str, Any]:
    frame: dict[str, Any] = {"name": file.name, "content": base64.b64encode(file.content).decode()}
    return frame | ({"mime_type": file.mime_type} if file.mime_type else {})


def _card(card: Card) -> dict[str, Any]:
    return {"title": card.title, "text": card.text, "choices": [option.label for option in card.options]}
