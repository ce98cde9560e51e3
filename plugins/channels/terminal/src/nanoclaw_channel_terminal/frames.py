"""What goes over the terminal's socket: one JSON object a line.

From the terminal: `say` {id, text, files} and `seen` {id}. To the terminal: `message` (with `is_kept` where it waited
for somebody, with `is_failure` where it is no answer but says why there is none, with `files` and the `session` that
they come from), `ready` once what was kept has been sent, `accepted` {id, outcome, reason} for each `say`, `said` for
what another terminal said, `status` {text}, where an empty text means that nothing is under way, `typing`, and `error`
{message}.
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
class File:
    """A file on its way, in either direction; its name is the other side's word and is trusted in nothing."""

    name: str
    content: bytes = field(repr=False)
    mime_type: str | None = None


@frozen(kw_only=True)
class Say:
    """What somebody at a terminal says; `id` is the client's and makes sending it twice harmless."""

    id: str
    text: str
    files: Sequence[File] = ()


@frozen(kw_only=True)
class Seen:
    """A terminal has shown a message."""

    id: str


class BadFrame(Exception):
    """A line that is not one of ours; the message says what is wrong with it."""


def line(frame: Mapping[str, Any]) -> bytes:
    """Return a frame as it travels."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def parse(raw: bytes) -> dict[str, Any]:
    """Read a line.

    Raises:
        BadFrame: No JSON object with a `type`.
    """
    try:
        frame = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"not JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame('a frame is a JSON object with a "type"')
    return frame


def from_terminal(raw: bytes) -> Say | Seen:
    """Read a line from a terminal.

    Raises:
        BadFrame: Not a `say` or `seen` of the right shape.
    """
    frame = parse(raw)
    kind, frame_id = frame["type"], frame.get("id")
    if not isinstance(frame_id, str) or not 0 < len(frame_id) <= MAX_ID_CHARACTERS:
        raise BadFrame(f"`id` must be a text of at most {MAX_ID_CHARACTERS} characters")
    if kind == "seen":
        return Seen(id=frame_id)
    if kind != "say":
        raise BadFrame(f"a terminal sends `say` and `seen`, not {kind!r}")
    text, files = frame.get("text", ""), frame.get("files", [])
    if not isinstance(text, str) or not isinstance(files, list):
        raise BadFrame("`text` must be a text and `files` a list")
    if not text.strip() and not files:
        raise BadFrame("there is nothing in it: neither text nor files")
    return Say(id=frame_id, text=text, files=[file_from(item) for item in files])


def say(frame: Say) -> dict[str, Any]:
    """Return a `say` frame."""
    return {"type": "say", "id": frame.id, "text": frame.text, "files": [_file(file) for file in frame.files]}


def file_from(item: Any) -> File:
    """Read a file of a frame.

    Raises:
        BadFrame: Not of the right shape.
    """
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not isinstance(item.get("content"), str):
        raise BadFrame("a file has a `name` and a `content` in base64")
    mime_type = item.get("mime_type")
    try:
        content = base64.b64decode(item["content"], validate=True)
    except ValueError as error:
        raise BadFrame(f"the file {item['name']!r} is not base64: {error}") from error
    return File(name=item["name"], content=content, mime_type=mime_type if isinstance(mime_type, str) else None)


def message(outbound: Outbound, session: str | None = None) -> dict[str, Any]:
    """Return the `message` frame of what the agent says.

    Args:
        session: The id of the session that the files come from, or None if it is not known.
    """
    frame: dict[str, Any] = {"type": "message", "id": outbound.idempotency_key, "text": outbound.text}
    if outbound.files:
        frame["files"] = [_file(File(name=file.name, content=file.content)) for file in outbound.files]
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


def _file(file: File) -> dict[str, Any]:
    frame: dict[str, Any] = {"name": file.name, "content": base64.b64encode(file.content).decode()}
    return frame | ({"mime_type": file.mime_type} if file.mime_type else {})


def _card(card: Card) -> dict[str, Any]:
    return {"title": card.title, "text": card.text, "choices": [option.label for option in card.options]}
