"""The tools of every agent: send a message or a file, edit a message, add a reaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanoclaw_runner.messenger import Messenger
from nanoclaw_runner.provider import Tool, ToolError

_TO = {"type": "string", "description": "Name of a destination. Without it: the conversation you are answering."}
_MESSAGE_ID = {"type": "integer", "description": "The id of a <message>, or one that a tool returned."}


def message_tools(messenger: Messenger) -> Sequence[Tool]:
    """Return the tools, which send through a messenger."""
    return (_send_message(messenger), _send_file(messenger), _edit_message(messenger), _add_reaction(messenger))


def _send_message(messenger: Messenger) -> Tool:
    async def run(arguments: Mapping[str, Any]) -> str:
        to = _optional_text(arguments, "to")
        number = await messenger.send_message(_text(arguments, "text"), to)
        return f"Message sent to {messenger.name_of(to)} (id: {number})"

    return Tool(
        name="send_message",
        description="Send a chat message now, while you are still working. Each call is a separate message.",
        parameters=_object({"text": {"type": "string", "description": "The message."}, "to": _TO}, required=["text"]),
        run=run,
    )


def _send_file(messenger: Messenger) -> Tool:
    async def run(arguments: Mapping[str, Any]) -> str:
        to = _optional_text(arguments, "to")
        text, name = _optional_text(arguments, "text") or "", _optional_text(arguments, "filename")
        number = await messenger.send_file(_text(arguments, "path"), to, text, name)
        return f"File sent to {messenger.name_of(to)} (id: {number})"

    return Tool(
        name="send_file",
        description="Send a file to a chat.",
        parameters=_object(
            {
                "path": {"type": "string", "description": "Below your folder, or absolute."},
                "to": _TO,
                "text": {"type": "string", "description": "The text that goes with the file."},
                "filename": {
                    "type": "string",
                    "description": "The shown name. Without it: the file's own name.",
                },
            },
            required=["path"],
        ),
        run=run,
    )


def _edit_message(messenger: Messenger) -> Tool:
    async def run(arguments: Mapping[str, Any]) -> str:
        seq, text = _number(arguments, "message_id"), _text(arguments, "text")
        await messenger.operate(seq, {"operation": "edit", "text": text})
        return f"Message {seq} will be changed"

    return Tool(
        name="edit_message",
        description="Change the text of a message that you sent.",
        parameters=_object(
            {"message_id": _MESSAGE_ID, "text": {"type": "string", "description": "The whole new text."}},
            required=["message_id", "text"],
        ),
        run=run,
    )


def _add_reaction(messenger: Messenger) -> Tool:
    async def run(arguments: Mapping[str, Any]) -> str:
        seq, emoji = _number(arguments, "message_id"), _text(arguments, "emoji")
        await messenger.operate(seq, {"operation": "reaction", "emoji": emoji})
        return f"Reaction {emoji} added to message {seq}"

    return Tool(
        name="add_reaction",
        description="React to a message with an emoji, for example to show that you saw it.",
        parameters=_object(
            {
                "message_id": _MESSAGE_ID,
                "emoji": {"type": "string", "description": "Its short name: thumbs_up."},
            },
            required=["message_id", "emoji"],
        ),
        run=run,
    )


def _object(properties: Mapping[str, Any], *, required: Sequence[str]) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ToolError(f"`{name}` must be a string that is not empty, got {value!r}.")
    return value


def _optional_text(arguments: Mapping[str, Any], name: str) -> str | None:
    return _text(arguments, name) if arguments.get(name) not in (None, "") else None


def _number(arguments: Mapping[str, Any], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise ToolError(f"`{name}` must be an integer above 0, got {value!r}.")
    return value
